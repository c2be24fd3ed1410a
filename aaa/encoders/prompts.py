"""One form for a prompt, whoever typed it and wherever it comes in: cache, sample, page and pipeline agree on it."""

import unicodedata


def normalised(prompt: str) -> str:
    """The prompt in Unicode's composed form (NFC), so that what looks the same is the same to every text encoder.

    Surrogates, which bytes that are no text leave behind, are joined where they make a character, else replaced.
    """
    whole = prompt.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return unicodedata.normalize("NFC", whole)
