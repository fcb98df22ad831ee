"""Maintenance windows: when runs may begin. A run that has begun is finished in any case."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from app.errors import InputInvalid

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EXAMPLE = '{"from": "22:00", "until": "04:00", "days": ["sat", "sun"], "zone": "Europe/Berlin"}'


@dataclass(frozen=True, kw_only=True)
class Window:
    """A daily period, on some or all days. It ends the next day if `end` is before `start`."""

    start: time
    end: time
    days: tuple[str, ...] = DAYS
    """The days on which it opens."""
    zone: str = "UTC"

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> "Window | None":
        """From `{"from", "until", "days", "zone"}`; None for None. Raises InputInvalid."""
        if not values:
            return None
        zone = values.get("zone") or "UTC"
        try:
            start, end = (time.fromisoformat(values[name]) for name in ("from", "until"))
        except (KeyError, ValueError, TypeError) as error:
            raise InputInvalid(
                "From and until are times like 22:00; give both.", field="window"
            ) from error
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, TypeError, OSError) as error:
            raise InputInvalid(
                f"There is no time zone {zone}. Example: Europe/Berlin.", field="window_zone"
            ) from error
        window = cls(start=start, end=end, days=tuple(values.get("days") or DAYS), zone=zone)
        if set(values) - {"from", "until", "days", "zone"} or set(window.days) - set(DAYS):
            raise InputInvalid(
                f"A window has from, until, days and zone. Example: {EXAMPLE}", field="window"
            )
        if window.start == window.end:
            raise InputInvalid(
                "The window begins and ends at the same time. To have no window, leave it out."
            )
        return window

    def as_json(self) -> dict[str, Any]:
        """The window as JSON values."""
        return {
            "from": self.start.isoformat("minutes"),
            "until": self.end.isoformat("minutes"),
            "days": list(self.days),
            "zone": self.zone,
        }

    def is_open(self, now: datetime) -> bool:
        """True if a run may begin at this moment."""
        here = now.astimezone(ZoneInfo(self.zone))
        clock, today = here.time(), DAYS[here.weekday()]
        if self.start < self.end:
            return today in self.days and self.start <= clock < self.end
        yesterday = DAYS[here.weekday() - 1]
        return (today in self.days and clock >= self.start) or (
            yesterday in self.days and clock < self.end
        )

    def opens_at(self, now: datetime) -> datetime:
        """When it next opens, in UTC; now if it is open."""
        if self.is_open(now):
            return now
        here = now.astimezone(ZoneInfo(self.zone))
        for ahead in range(9):
            day = (here + timedelta(days=ahead)).date()
            opens = datetime.combine(day, self.start, ZoneInfo(self.zone))
            if DAYS[day.weekday()] in self.days and opens > now:
                return opens.astimezone(UTC)
        raise AssertionError(self)  # a window has a day, so it opens within eight


def closed_reason(window: Mapping[str, Any] | None, now: datetime) -> str | None:
    """A sentence why no run may begin now; None if the window is open or there is none."""
    parsed = Window.of(window)
    if parsed is None or parsed.is_open(now):
        return None
    return f"Outside its window, which opens at {parsed.opens_at(now):%Y-%m-%d %H:%M} UTC."
