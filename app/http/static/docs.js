"use strict";
const docs = document.getElementById("docs");
SwaggerUIBundle({
  url: docs.dataset.url,
  domNode: docs,
  deepLinking: true,
  validatorUrl: null, // nothing leaves this server
});
