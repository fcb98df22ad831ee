"""Projects: their script directories, read into the catalog, and their revisions."""

from app.fleet.projects.crud import (
    ask_refresh,
    change_project,
    create_project,
    delete_project,
    find_project,
    get_project,
    list_projects,
    places_of,
    scripts_of,
)
from app.fleet.projects.discovery import found_folders

__all__ = [
    "ask_refresh",
    "change_project",
    "create_project",
    "delete_project",
    "find_project",
    "found_folders",
    "get_project",
    "list_projects",
    "places_of",
    "scripts_of",
]
