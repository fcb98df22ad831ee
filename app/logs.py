from app.settings import Settings


def configure(settings: Settings) -> None:
    return
