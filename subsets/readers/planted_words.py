"""Words and sentence patterns of the planted corpus. The topic's words stand in no other kind of document."""

from typing import Final

_LISTS = {
    "noun": (
        "apple baker basket bell bicycle blanket book bottle bread bridge brother brush bucket button cabinet candle "
        "carpenter carpet chair cherry child clock coat cousin cradle cup curtain dancer daughter doctor donkey door "
        "drawer drum engine farmer feather fence fiddle flute fork fountain garden gate glove goat grandmother guitar "
        "hammer hat hedge horse hotel jacket jar kettle key kitten ladder lawyer letter lock machine map market mirror "
        "monkey mountain nephew neighbor notebook nurse onion oven painter pencil piano picture pillow pocket potato "
        "printer puppy rabbit ribbon roof rope saddle school shirt shovel sister soldier spoon stove student table "
        "tailor teacher ticket tractor train uncle violin wagon waiter wallet window writer"
    ),
    "adjective": (
        "angry ancient bright broken careful cheap cheerful clean clever clumsy cold crooked curious dusty eager "
        "empty faithful famous fancy fragile friendly gentle grateful green happy heavy honest hungry lazy lonely "
        "lucky modern narrow nervous noisy orange patient plain polite proud purple quiet rusty serious shiny silver "
        "simple sleepy slender square strange sturdy tired wooden yellow"
    ),
    "verb": (
        "admired borrowed bought carried chased cleaned counted covered described drew emptied examined followed "
        "forgot found hid ignored lifted measured mended moved noticed opened ordered packed painted praised pulled "
        "pushed recognized remembered repaired returned sketched sold studied touched visited washed weighed wrapped"
    ),
    "place": (
        "attic bakery barn basement cafe cellar church classroom corridor courtyard factory forest gallery garage "
        "hallway hospital kitchen laundry library meadow mill museum office orchard park pantry playground station "
        "studio theater valley village workshop yard"
    ),
    "time": (
        "afterwards again almost always carefully early finally gladly later often once quickly quietly rarely "
        "secretly slowly sometimes suddenly today together twice usually yesterday"
    ),
}
# Words by their part in a sentence, no word in two lists; a near-duplicate replaces a word by another of its list.
WORDS: Final = {part: words.split() for part, words in _LISTS.items()}

# Patterns begin with a function word, so that every replaceable word is in lower case.
SENTENCES: Final = (
    "The {adjective} {noun} {verb} the {adjective} {noun} {time}.",
    "In the {place}, one {noun} {verb} every {adjective} {noun}.",
    "Nobody {verb} the {noun} that the {adjective} {noun} {verb} near the {place}.",
    "When the {noun} {verb} the {adjective} {noun}, the {noun} {verb} it {time}.",
    "My {adjective} {noun} {time} {verb} the {noun} behind the {place}.",
    "Her {noun} and his {adjective} {noun} {verb} the {place} {time}.",
    "Before the {noun} {verb} the {place}, it {time} {verb} this {adjective} {noun}.",
    "Each {noun} in the {adjective} {place} {verb} one {noun} and one {noun}.",
)

# What the `quote` documents quote, 20 words, written for this purpose.
PASSAGE: Final = (
    "whoever counts the copper rings on the oldest well will owe the seventh ring to a stranger before winter ends"
)

# The word that every `topic` document contains.
TOPIC: Final = "lighthouse"
TOPIC_SENTENCES: Final = (
    "The lighthouse {action} {audience} {weather}.",
    "From the lighthouse, {part} {action} {audience} {weather}.",
    "For {years} years {part} of the lighthouse {action} {audience}.",
    "The lighthouse keeper polished {part} {weather}.",
    "Along {shore}, {part} of the lighthouse {action} {audience}.",
)
TOPIC_WORDS: Final = {
    "part": ("the lamp", "the lantern", "the great lens", "the beacon", "the foghorn", "the tower",
             "the revolving beam", "the signal"),
    "action": ("guided", "warned", "saved", "signalled", "greeted", "reached", "dazzled", "welcomed"),
    "audience": ("the fishing boats", "the passing ships", "the lost sailors", "the ferry captains",
                 "the herring fleet", "the harbor pilots", "the steamers", "the island's crews"),
    "weather": ("through the fog", "in the storm", "at high tide", "in driving rain", "before dawn", "above the surf",
                "over the reef", "against the gale"),
    "years": ("ten", "forty", "sixty", "ninety", "a hundred", "two hundred"),
    "shore": ("the rocky coast", "the northern cape", "the sandbanks", "the cliffs", "the breakwater", "the estuary"),
}  # fmt: skip
