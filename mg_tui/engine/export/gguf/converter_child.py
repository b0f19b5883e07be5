"""`python -m mg_tui.engine.export.gguf.converter_child`: llama.cpp's own converter, with an account of every tensor.

    converter_child SOURCE probe FOLDER REPORT                         what the converter knows of the model
    converter_child SOURCE convert FOLDER REPORT [converter's words]   text, or with --mmproj the vision tower
    converter_child SOURCE lora FOLDER REPORT [converter's words]      an adapter

SOURCE is the folder of `convert_hf_to_gguf.py`; it runs in this process of its own, as llama.cpp has it. REPORT is
written as JSON. The converter drops tensors that it takes for another part's without a word; the report has each
source tensor with the number of tensors made of it.

It recognizes a tokenizer by how it encodes one text, which depends on the vocabulary. Where it does not, the rules by
which text is split before it is encoded are compared (`ModelFamily.llama_tokenizers`); any other tokenizer stays
refused.
"""

import importlib
import importlib.machinery
import importlib.util
import json
import runpy
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mg_tui.families.registry import load_registry


class TensorAccount:
    """Which tensors of the source a converter keeps, and how many it makes of each."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.made: Counter[str] = Counter()

    def watch(self, kind: Any) -> None:
        """Count what a class of the converter does."""
        if hasattr(kind, "filter_tensors"):
            kind.filter_tensors = staticmethod(self._filter(kind.filter_tensors))
        original = kind.modify_tensors

        def modify(model: Any, data: Any, name: str, block: int | None) -> Iterator[tuple[str, Any]]:
            self.kept.setdefault(name, name)
            for made in original(model, data, name, block):
                self.made[name] += 1
                yield made

        kind.modify_tensors = modify

    def _filter(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def keep(item: Any) -> Any:
            found = original(item)
            if found is not None:
                self.kept[item[0]] = found[0]
            return found

        return keep

    def report(self) -> dict[str, int]:
        """Source tensors that were kept, with the number of tensors made of each."""
        # Those that stand under their new name beside their own were added by `modify`.
        renamed = {new for old, new in self.kept.items() if old != new}
        return {old: self.made[new] for old, new in self.kept.items() if old not in renamed or old == new}


def main(words: list[str]) -> None:
    """Do what the words say; the converter's own errors end the process."""
    source, operation, folder, report = Path(words[0]), words[1], Path(words[2]), Path(words[3])
    sys.path.insert(0, str(source))
    converter = importlib.import_module("convert_hf_to_gguf")
    if importlib.util.find_spec("sentencepiece") is None and not (folder / "tokenizer.model").is_file():
        # It imports the package before it looks for the file. After transformers, which looks for the package too.
        sys.modules["sentencepiece"] = _stand_in()
    base = sys.modules.get("conversion.base", converter)
    noted: dict[str, Any] = {}
    _recognize_by_rules(base, folder, noted)
    if operation == "probe":
        noted |= _probe(converter, base, folder)
    else:
        account = TensorAccount()
        _account_for(converter, account)
        sys.argv = [operation, *words[4:]]
        if operation == "lora":
            runpy.run_path(str(source / "convert_lora_to_gguf.py"), run_name="__main__")
        else:
            converter.main()
        noted["tensors"] = account.report()
    report.write_text(json.dumps(noted), encoding="utf-8")


def _stand_in() -> types.ModuleType:
    module = types.ModuleType("sentencepiece")
    module.__spec__ = importlib.machinery.ModuleSpec("sentencepiece", None)
    module.__dict__["SentencePieceProcessor"] = object
    return module


def _account_for(converter: Any, account: TensorAccount) -> None:
    """Count what the class does that the converter chooses."""
    for owner in {id(each): each for each in (converter, sys.modules.get("conversion", converter))}.values():
        choose = getattr(owner, "get_model_class", None)
        if choose is not None:
            owner.get_model_class = _watching(choose, account)
    if not hasattr(converter, "get_model_class"):  # llama.cpp before it had a package for its models
        base = converter.ModelBase
        base.from_model_architecture = classmethod(
            lambda _cls, *args, _choose=base.from_model_architecture, **options: _watched(
                _choose(*args, **options), account
            )
        )


def _watching(choose: Callable[..., Any], account: TensorAccount) -> Callable[..., Any]:
    def chosen(*args: Any, **options: Any) -> Any:
        return _watched(choose(*args, **options), account)

    return chosen


def _watched(kind: Any, account: TensorAccount) -> Any:
    account.watch(kind)
    return kind


def _recognize_by_rules(base: Any, folder: Path, noted: dict[str, Any]) -> None:
    text_model = base.TextModel
    original = text_model.get_vocab_base_pre

    def recognize(model: Any, tokenizer: Any) -> str:
        try:
            return str(original(model, tokenizer))
        except NotImplementedError:
            found = find_pre_tokenizer(folder)
            if found is None:
                raise
            noted["tokenizer_by_rules"] = found
            return found

    text_model.get_vocab_base_pre = recognize


def find_pre_tokenizer(folder: Path) -> str | None:
    """llama.cpp's name for the rules by which a tokenizer splits text; None for rules that are not known here.

    Known are byte-level BPE tokenizers whose only normalization is NFC, which llama.cpp does not do but text has.
    """
    try:
        record = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        split, last = record["pre_tokenizer"]["pretokenizers"]
        level = (last["type"], last["add_prefix_space"], last["use_regex"])
        plain = record["model"]["type"] == "BPE" and (record.get("normalizer") or {}).get("type") in (None, "NFC")
        if not plain or level != ("ByteLevel", False, False) or split["behavior"] != "Isolated" or split["invert"]:
            return None
        pattern = split["pattern"]["Regex"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return next((f.llama_tokenizers[pattern] for f in load_registry().families if pattern in f.llama_tokenizers), None)


def _probe(converter: Any, base: Any, folder: Path) -> dict[str, Any]:
    """Whether the converter has classes for the text model and the tower, and which tokenizer it takes it for."""
    hparams = base.ModelBase.load_hparams(folder, False)
    found: dict[str, Any] = {}
    for name, kind in (("text", base.ModelType.TEXT), ("projector", base.ModelType.MMPROJ)):
        architecture = base.get_model_architecture(hparams, kind)
        found[name] = architecture
        try:
            if hasattr(converter, "get_model_class"):
                converter.get_model_class(architecture, mmproj=name == "projector")
            else:
                base.ModelBase.from_model_architecture(architecture, kind)
        except NotImplementedError:
            found[f"{name}_unknown"] = True
    if not (folder / "tokenizer.model").is_file():
        from transformers import AutoTokenizer

        try:
            found["tokenizer"] = base.TextModel.get_vocab_base_pre(None, AutoTokenizer.from_pretrained(folder))
        except NotImplementedError:
            found["tokenizer"] = None
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
