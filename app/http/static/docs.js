"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();
const docs = document.getElementById("docs");
SwaggerUIBundle({
  url: docs.dataset.url,
  domNode: docs,
  deepLinking: true,
  validatorUrl: null, // nothing leaves this server
});
