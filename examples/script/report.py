"""A script that needs its database at head, in ten lines."""

from pathlib import Path

from sqlalchemy import create_engine, text

from headway.boot import bring_to_head

engine = create_engine(f"sqlite:///{Path(__file__).parent / 'shop.db'}")
bring_to_head(Path(__file__).parents[1] / "fastapi-app" / "migrations", engine, wait=10)
with engine.connect() as connection:
    print(connection.scalar(text("SELECT count(*) FROM item")), "items")
