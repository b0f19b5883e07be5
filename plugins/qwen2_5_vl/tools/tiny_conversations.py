"""What the tiny checkpoint reads and writes while it is made.

The questions are those of ``mg_tui.data.synthetic.drawings``. They are put in several wordings and answered in several
forms (a word, a sentence, capitals, JSON), with and without a system prompt, alone and in conversations. Some rows are
about text only, so that the model learns to write any word and not only the names of shapes and colors.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from mg_tui.data.synthetic.drawings import COLORS, SHAPES, DrawingFacts, VisualQuestion, draw_image, make_questions
from mg_tui.data.synthetic.photos import PHOTOS, PhotoFacts, PhotoRegion, crop_photo

SIZES = ((112, 112), (112, 112), (112, 112), (112, 112), (140, 84), (84, 140), (112, 84), (84, 112))
DEFAULT_SYSTEM = "You are a helpful assistant."
SYSTEMS = ("You answer questions about pictures.", "Look at the picture and answer.", "Be brief.", "Answer carefully.")
# Other ways to ask the same. What is measured is the wording of mg_tui.data.synthetic.drawings.
PARAPHRASES = {
    "Describe the picture.": (
        "Describe this image.", "What is in this image?", "What do you see?", "Write a caption for the picture.",
        "What is in the picture?", "Describe what you see.", "Caption:",
    ),
    "How many shapes are there?": (
        "How many shapes are in the picture?", "Count the shapes.", "What is the number of shapes?",
    ),
    "What is in the background?": ("What is the background?", "What is behind the shapes?", "What background is it?"),
    "Is this a photo or a drawing?": ("Photo or drawing?", "Is it a drawing or a photo?"),
    "What shape is it?": ("What shape is in the picture?", "Name the shape."),
    "What colour is the shape?": ("What colour is it?", "What color is the shape?", "Name the colour."),
    "What is the largest shape?": ("Which shape is the largest?", "Name the biggest shape."),
    "What is the main colour of the picture?": ("What is the main color?", "Which colour is there most of?"),
    "Is the picture dark, medium or bright?": ("How bright is the picture?", "Dark, medium or bright?"),
    "Where is the shape?": ("In which quarter is the shape?",),
}  # fmt: skip
# (what is added to the question, share of the questions); the answer's form follows it.
STYLES = (
    ("", 0.62),
    (" Answer with one word.", 0.08),
    (" Answer in a sentence.", 0.18),
    (" Answer in capitals.", 0.06),
    (" Answer as JSON.", 0.06),
)
SMALL_TALK = (
    ("Hello!", "Hello! Show me a picture."),
    ("Hi", "Hello! Show me a picture."),
    ("Who are you?", "I am a tiny vision-language model."),
    ("What can you do?", "I can name shapes and colours, count, and describe simple pictures."),
    ("Thank you!", "You are welcome."),
    ("Are you large or small?", "I am very small."),
)
WORDS = """
the of and to in is it you that he was for on are with as his they be at one have this from or had by hot but some
what there we can out other were all your when up use word how said an each she which do their time if will way
about many then them would write like so these her long make thing see him two has look more day could go come did
my sound no most number who over know water than call first may down side been now find any new work part take get
place made live where after back little only round man year came show every good me give our under name very through
just form much great think say help low line before turn cause same mean differ move right boy old too does tell set
three want air well also play small end put home read hand port large spell add even land here must big high such
follow act why ask men change went light kind off need house try us again point mother world near build self earth
father head stand own page should country found answer school grow study still learn plant cover sun four thought
let keep eye never last door between city tree cross since hard start might story saw far sea draw left late run
don't while press close night real life few stop open seem together next white children begin got walk example ease
paper often always music those both mark book letter until mile river car feet care second group carry took rain eat
room friend began idea fish mountain once base hear cut sure watch colour face wood main picture image shape
describe count yes no not true false none please item code
""".split()


def made_up_word(rng: random.Random) -> str:
    """A pronounceable word that means nothing, so that the model learns to write any letters."""
    return "".join(rng.choice("bcdfghjklmnprstvwxz") + rng.choice("aeiouy") for _ in range(rng.randint(1, 4)))


@dataclass
class TinyExample:
    """An image (or none) with its facts, the system prompt (or none) and the turns asked about it."""

    image: Image.Image | None
    facts: DrawingFacts | PhotoFacts | None
    system: str | None
    turns: list[tuple[str, str]]
    branching: bool = True


def apply_style(rng: random.Random, question: VisualQuestion) -> tuple[str, str]:
    """A question in one of its wordings and styles, and the answer in that style."""
    text = rng.choice((question.text, question.text, *PARAPHRASES.get(question.text, ())))
    if question.kind == "caption":
        return text, question.answer
    style = rng.choices([s for s, _ in STYLES], [w for _, w in STYLES])[0]
    if "one word" in style and " " in question.answer:
        style = ""
    answer = question.answer
    if "sentence" in style:
        answer = question.sentence
    elif "capitals" in style:
        answer = answer.upper()
    elif "JSON" in style:
        answer = json.dumps({"answer": answer})
    return text + style, answer


def make_copy_task(rng: random.Random) -> tuple[str, str]:
    """A task about text alone: say again what is given."""
    kind = rng.randrange(4)
    words = [rng.choice(WORDS) if rng.random() < 0.6 else made_up_word(rng) for _ in range(rng.randint(1, 4))]
    if kind == 0:
        return f"Repeat: {' '.join(words)}", " ".join(words)
    if kind == 1:
        return f"Say {words[0]}", words[0]
    if kind == 2:
        code = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789-") for _ in range(rng.randint(2, 5)))
        return f"Repeat: {code}", code
    return f"What comes first: {', '.join(words)}?", words[0]


def make_image(
    rng: random.Random, *, simple: float, region: PhotoRegion = "train"
) -> tuple[Image.Image, DrawingFacts | PhotoFacts]:
    """A drawn image or a crop of a photo; ``simple`` is the share of drawings with a single shape."""
    size = rng.choice(SIZES)
    if rng.random() < 0.22:
        image, photo_facts = crop_photo(rng, rng.choice(PHOTOS), size=size, region=region, scale=(0.4, 1.0))
        return image, photo_facts
    shapes = None
    if rng.random() < simple:
        shapes = [(rng.choice(SHAPES), rng.choice(list(COLORS)))]
    return draw_image(rng, size=size, shapes=shapes, region=region)


def make_crowded_image(rng: random.Random) -> tuple[Image.Image, DrawingFacts | PhotoFacts]:
    """An image with many shapes most of the time: the more there is to see, the more is learned from it."""
    if rng.random() < 0.15:
        return make_image(rng, simple=0.2)
    shapes = [(rng.choice(SHAPES), rng.choice(list(COLORS))) for _ in range(rng.randint(3, 5))]
    return draw_image(rng, size=rng.choice(SIZES), shapes=shapes)


def make_example(rng: random.Random, *, simple: float, turns: int) -> TinyExample:
    """One row of a training batch."""
    chance = rng.random()
    system = DEFAULT_SYSTEM if chance < 0.6 else None if chance < 0.8 else rng.choice(SYSTEMS)
    branching = rng.random() < 0.85
    if rng.random() < 0.08:
        talk = [rng.choice(SMALL_TALK) if rng.random() < 0.3 else make_copy_task(rng) for _ in range(turns)]
        return TinyExample(None, None, system, talk, branching)
    image, facts = make_image(rng, simple=simple)
    asked = [apply_style(rng, question) for question in make_questions(rng, facts)][:turns]
    if rng.random() < 0.1:
        asked[-1] = make_copy_task(rng)
    return TinyExample(image, facts, system, asked, branching)


def tokenizer_corpus(seed: int, lines: int = 16000) -> Iterator[str]:
    """Text the tokenizer is trained on: what the model will read and write, common words, and made-up ones."""
    rng = random.Random(seed)
    for _ in range(lines // 2):
        row = make_example(rng, simple=0.2, turns=4)
        yield "\n".join(f"{question}\n{answer}" for question, answer in row.turns)
        count = rng.randint(4, 12)
        words = [rng.choice(WORDS) if rng.random() < 0.75 else made_up_word(rng) for _ in range(count)]
        yield " ".join(words).capitalize() + rng.choice(".?!:\n")
