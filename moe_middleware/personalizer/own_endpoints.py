"""The endpoints below ``clicks.path``: clicks, beacons, scripts ..."""

from __future__ import annotations

from ..browser import SCRIPT, SCRIPT_NAME, SDK_SCRIPT, SDK_SCRIPT_NAME
from ..browser.beacons import BeaconReceiver
from ..browser.click_links import LINKS
from ..browser.clicks import METHODS, Clicks
from ..browser.device_ids import DEVICES, Devices
from ..browser.device_ids import MAX_BODY as DEVICE_BODY
from ..browser.endpoints import OwnPath, OwnPaths, asset_handler
from ..browser.marks import BEACONS, MAX_BODY
from ..browser.overlay_access import OVERLAY
from ..browser.overlay_element import overlay_script
from ..browser.overlays import MAX_BODY as OVERLAY_BODY
from ..browser.overlays import METHODS as OVERLAY_METHODS
from ..browser.overlays import Overlays
from ..browser.preview_links import PREVIEWS
from ..browser.previews import Previews
from ..browser.reported_events import ReportedEvents
from ..browser.sandbox_pages import PAGES, PAGES_BODY, PAGES_METHODS, show_pages
from ..outbox import Outbox
from ..settings.settings import Settings
from .personalizer import Personalizer

SCRIPT_KIND = b"text/javascript"


def own_endpoints(settings: Settings, engine: Personalizer, outbox: Outbox) -> OwnPaths:
    """Return the endpoints that these settings turn on."""
    previews = Previews(engine.previews, engine.visitors, clock=engine.clock)
    devices = Devices(engine.visitors, max_age=int(settings.identity.anonymous_max_age))
    paths = {
        # Without a secret it refuses, and logs the reason.
        PREVIEWS: OwnPath(METHODS, previews.answer),
        DEVICES: OwnPath(("POST",), devices.take, DEVICE_BODY),
        SDK_SCRIPT_NAME: OwnPath(METHODS, asset_handler(SDK_SCRIPT, SCRIPT_KIND)),
    }
    if settings.workspace.embedded and settings.workspace.pages == "on":
        paths[PAGES] = OwnPath(PAGES_METHODS, show_pages, PAGES_BODY)
    if engine.overlay is not None:
        overlays = Overlays(
            engine.overlay,
            engine.previews,
            previews,
            engine.visitors,
            has_variations=settings.workspace.embedded,
            clock=engine.clock,
        )
        paths[OVERLAY] = OwnPath(OVERLAY_METHODS, overlays.answer, OVERLAY_BODY)
        paths[overlay_script()[0]] = OwnPath(METHODS, overlays.script)
    if engine.click_links is not None and engine.beacons is not None:
        events = ReportedEvents(outbox, settings.events, engine.trace)
        clicks = Clicks(engine.click_links, engine.visitors, events, clock=engine.clock)
        collector = BeaconReceiver(
            engine.beacons,
            engine.visitors,
            events,
            clock=engine.clock,
            stopwatch=engine.stopwatch,
        )
        paths[LINKS] = OwnPath(METHODS, clicks.follow)
        paths[BEACONS] = OwnPath(("POST",), collector.collect, MAX_BODY)
        paths[SCRIPT_NAME] = OwnPath(METHODS, asset_handler(SCRIPT, SCRIPT_KIND))
    return OwnPaths(settings.clicks.path, paths)
