"""`model-garden chat`: a conversation with a model in the plain terminal; lines in, text out."""

import contextlib
import json
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.model_options import LOADING_NAMES, loading_options, sampling_options
from mg_tui.config import Settings
from mg_tui.core.errors import EnvironmentProblem, GardenError
from mg_tui.core.text import printable

if TYPE_CHECKING:
    from mg_tui.runs.engine_process import EngineProcess

HELP: Final = """\
/image PATH   show an image (a file or URL) with the next question; repeatable
/reset        forget the conversation
/save FILE    append the conversation to FILE, as a row of a dataset (JSON Lines)
/help         show this
/quit         leave; so does ctrl+d. Ctrl+c ends an answer."""


@click.command("chat")
@click.argument("model")
@click.option("--image", "images", multiple=True, metavar="PATH", help="Show an image or URL first; repeatable.")
@sampling_options
@loading_options
@click.pass_obj
def chat(settings: Settings, /, model: str, images: tuple[str, ...], **sampling: Any) -> None:
    """Chat with a model about images.

    MODEL is as for generate-vision. A line is a question; /help lists the commands. Answers go to stdout.
    """
    from mg_tui.cli.progress import request_with_spinner
    from mg_tui.runs.engine_process import EngineProcess

    load_options = {name: sampling.pop(name) for name in LOADING_NAMES}
    talk = Conversation(settings)
    for image in images:
        talk.show(image)
    with EngineProcess("mg_tui.engine.inference.generate") as child:
        request_with_spinner(
            child, f"loading {printable(model)}", "load", model=model, home=str(settings.home), **load_options
        )
        click.echo("/image PATH shows an image, /help lists commands, ctrl+d leaves", err=True)
        for line in _lines():
            if not _handle(line.strip(), talk, child, sampling):
                return


@dataclass
class Conversation:
    """What was said so far, and images that wait for the next question."""

    settings: Settings
    turns: list[dict[str, Any]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    def show(self, image: str) -> None:
        """Show an image with the next question.

        Raises:
            ImageError: it cannot be used.
        """
        from mg_tui.cli.images import resolve_image

        self.images.append(resolve_image(image, self.settings))

    def reset(self) -> None:
        """Forget everything."""
        self.turns.clear()
        self.images.clear()

    def ask(self, child: "EngineProcess", text: str, sampling: dict[str, Any]) -> None:
        """Ask, and print the answer as it comes. A question that fails is forgotten; its images wait on."""
        question = {"role": "user", "text": text, "images": list(self.images)}
        with _cancel_on_interrupt(child):
            record: dict[str, Any] = {}
            for event in child.stream("generate", messages=[*self.turns, question], **sampling):
                if event["event"] == "text":
                    click.echo(printable(event["text"]), nl=False)
                record = event
        click.echo()
        if record.get("ended") == "length":
            click.echo("(truncated; raise --max-new-tokens)", err=True)
        self.turns += [question, {"role": "assistant", "text": record["answer"]}]
        self.images.clear()

    def save(self, path: Path) -> None:
        """Append the conversation to a file, as one row with `messages`.

        Raises:
            EnvironmentProblem: it cannot be written.
        """
        messages = [
            {
                "role": turn["role"],
                "content": [
                    *({"type": "image", "image": image} for image in turn.get("images", ())),
                    {"type": "text", "text": turn["text"]},
                ]
                if turn.get("images")
                else turn["text"],
            }
            for turn in self.turns
        ]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
        except OSError as error:
            raise EnvironmentProblem("the conversation cannot be saved", where=str(path), why=error.strerror) from None


def _handle(line: str, talk: Conversation, child: "EngineProcess", sampling: dict[str, Any]) -> bool:
    """Do what a line asks; whether to go on. An error of a line is said, and the conversation goes on."""
    from mg_tui.cli.main import print_error

    command, _, rest = line.partition(" ")
    try:
        match command:
            case "":
                pass
            case "/quit" | "/exit":
                return False
            case "/reset":
                talk.reset()
                click.echo("the conversation was reset", err=True)
            case "/help":
                click.echo(HELP, err=True)
            case "/image":
                for image in _words(rest):
                    talk.show(image)
                click.echo(f"{len(talk.images)} image(s) with the next question", err=True)
            case "/save":
                path = Path(" ".join(_words(rest)) or "chat.jsonl").expanduser()
                talk.save(path)
                click.echo(f"saved to {printable(str(path))}", err=True)
            case _ if command.startswith("/") and "/" not in command[1:]:
                click.echo(f"unknown command {printable(command)}; /help lists them", err=True)
            case _:
                talk.ask(child, line, sampling)
    except GardenError as error:
        print_error(error)
        return child.alive
    return True


def _words(text: str) -> list[str]:
    """Paths of a line, quoted where they have blanks; the line itself where quotes do not close."""
    try:
        return shlex.split(text)
    except ValueError:
        return [text]


def _lines() -> Iterator[str]:
    """What is typed, line by line, until the input ends."""
    interactive = sys.stdin.isatty()
    if interactive:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() its line editing
    while True:
        try:
            line = input("> ") if interactive else sys.stdin.readline()
        except EOFError:
            click.echo(err=True)
            return
        except KeyboardInterrupt:
            click.echo("\n/quit or ctrl+d leaves", err=True)
            continue
        if not interactive and not line:
            return
        yield line


@contextlib.contextmanager
def _cancel_on_interrupt(child: "EngineProcess") -> Iterator[None]:
    """Ctrl+c ends the answer that is being written, and nothing else."""

    def cancel(_number: int, _frame: FrameType | None) -> None:
        child.send("cancel")

    before = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
