"""The classes of the icon benchmark, as the first words of the names that vendors give a glyph.

A glyph belongs to a class when its name begins with one of the class's `heads`. Where its name has
a word that another class begins with (`folder-lock`, `home-heart`), it shows two things and is in
none; neither is what `without` lists as vendor/glyph, whose picture is not what the class's names
say.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class IconClass:
    """One class folder: the glyphs that begin with one of `heads`, less `without`."""

    folder: str
    names: tuple[str, ...]
    heads: frozenset[str]
    without: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KNOWN: tuple[IconClass, ...] = (
    IconClass("arrow", ("arrow", "direction arrow"), _words("arrow")),
    IconClass(
        "bell",
        ("bell", "notification bell"),
        _words("bell notification"),
        without=_words(
            "mdi/notification-clear-all tabler/notification tabler/notification-off "
            "phosphor/notification remix/notification-badge"
        ),
    ),
    IconClass("calendar", ("calendar", "date"), _words("calendar")),
    IconClass(
        "camera",
        ("camera", "photo camera"),
        _words("camera"),
        without=_words(
            "mdi/camera-burst mdi/camera-control mdi/camera-document mdi/camera-document-off "
            "mdi/camera-front mdi/camera-front-variant mdi/camera-gopro mdi/camera-image "
            "mdi/camera-metering-center mdi/camera-metering-matrix mdi/camera-metering-partial "
            "mdi/camera-metering-spot mdi/camera-rear mdi/camera-rear-variant"
        ),
    ),
    IconClass(
        "chart",
        ("chart", "bar chart", "graph"),
        _words("chart bar-chart pie-chart line-chart bubble-chart donut-chart"),
    ),
    IconClass("cloud", ("cloud", "clouds"), _words("cloud cloudy upload-cloud download-cloud")),
    IconClass("folder", ("folder", "file folder"), _words("folder folders")),
    IconClass(
        "heart",
        ("heart", "love heart"),
        _words("heart hearts"),
        without=_words("tabler/heart-handshake tabler/heart-rate-monitor"),
    ),
    IconClass(
        "house",
        ("house", "home"),
        _words("home house"),
        without=_words("mdi/home-assistant mdi/home-modern mdi/home-roof mdi/home-silo"),
    ),
    IconClass("person", ("person", "user", "people"), _words("account user users")),
)

UNKNOWN: tuple[IconClass, ...] = (
    IconClass("battery", ("battery", "battery charge"), _words("battery")),
    IconClass(
        "clock",
        ("clock", "alarm clock", "watch"),
        _words("clock time timer alarm history"),
        without=_words(
            "mdi/alarm-light mdi/alarm-light-off mdi/alarm-panel mdi/clock-end mdi/clock-start "
            "tabler/alarm-smoke remix/alarm-warning"
        ),
    ),
    IconClass("envelope", ("envelope", "mail", "letter"), _words("email mail envelope")),
    IconClass(
        "lock",
        ("lock", "padlock"),
        _words("lock"),
        without=_words("mdi/lock-pattern mdi/lock-smart"),
    ),
    IconClass("shield", ("shield", "protection"), _words("shield")),
    IconClass(
        "speech",
        ("speech bubble", "chat message", "comment"),
        _words("message messages chat chats comment"),
    ),
)

CLASSES: tuple[IconClass, ...] = KNOWN + UNKNOWN

# Words of which none may be in the name of an icon of no class: those of the classes, and others
# by which vendors call what the classes show.
CLASS_WORDS = frozenset(
    word
    for cls in CLASSES
    for text in (*cls.heads, *cls.names)
    for word in text.replace("-", " ").split()
) | _words(
    "arrows chevron caret direction directions navigation bells calendars event cameras webcam "
    "photo charts graphs diagram analytics poll clouds weather rain snow fog directory archive "
    "like favorite homes houses roof person man woman child baby human face profile contacts "
    "group team batteries charge charging clocks hourglass stopwatch watch schedule timeline "
    "inbox mailbox letter envelopes send locks unlock unlocked padlock key security shields guard "
    "showers thunderstorm thunderstorms windy mist haze drizzle corner "
    "bubble comments discuss discussion forum sms conversation speech text question"
)
