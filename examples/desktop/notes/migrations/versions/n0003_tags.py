"""Tags in a table of their own, filled from the lines that they were in."""

import sqlalchemy as sa
from alembic import op

revision = "n0003"
down_revision = "n0002"


def upgrade() -> None:
    tag = op.create_table(
        "tag",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.UniqueConstraint("name", name="uq_tag_name"),
    )
    note_tag = op.create_table(
        "note_tag",
        sa.Column(
            "note_id", sa.Integer, sa.ForeignKey("note.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column(
            "tag_id", sa.Integer, sa.ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True
        ),
    )
    connection = op.get_bind()
    lines: dict[int, str] = dict(connection.execute(sa.text("SELECT id, tags FROM note")).all())
    tags_of = {
        note: {one.strip() for one in line.split(",")} - {""} for note, line in lines.items()
    }
    ids = {name: n for n, name in enumerate(sorted(set().union(*tags_of.values())), start=1)}
    op.bulk_insert(tag, [{"id": ids[name], "name": name} for name in ids])
    op.bulk_insert(
        note_tag,
        [{"note_id": note, "tag_id": ids[name]} for note in tags_of for name in tags_of[note]],
    )
    with op.batch_alter_table("note") as note:
        note.drop_column("tags")
