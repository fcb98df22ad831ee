"""Alembic's recipe for tenants: `alembic -x tenant=shop_gold_05 upgrade head`.

https://alembic.sqlalchemy.org/en/latest/cookbook.html
#rudimental-schema-level-multi-tenancy-for-postgresql-databases
"""

import os

from alembic import context
from sqlalchemy import create_engine, text

tenant = context.get_x_argument(as_dictionary=True)["tenant"]
url = context.config.get_main_option("sqlalchemy.url") or os.environ["TENANTS_URL"]
engine = create_engine(url)
with engine.connect() as connection:
    connection.execute(text(f'set search_path to "{tenant}"'))
    connection.commit()
    connection.dialect.default_schema_name = tenant
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
