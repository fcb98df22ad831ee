"""`flask rollouts`: the commands of the library, on the catalog."""

from app.cli.catalog_fleet import on_catalog
from app.cli.groups import CatalogGroup
from headway.cli.fleet.rollouts import rollouts as of_any_fleet

NO_APPROVAL = "Approve a rollout. Not available on the command line: approvals need an account."

rollouts = CatalogGroup("rollouts", help="Migrate many databases to one target, in waves.")
for _command in of_any_fleet.commands.values():
    rollouts.add_command(on_catalog(_command))
rollouts.commands["approve"].help = NO_APPROVAL
