"""What the scripted provider says when nobody scripted it: pleasant, in character, the same for the same words."""

import re
import zlib

_NAME = re.compile(r"\b(?:[Yy]ou are|[Yy]ou're|[Yy]our name is|[Yy]ou play) ([A-Z][\w'-]{1,30})")
_MAX_QUOTED_CHARACTERS = 120

_OPENINGS = (
    "*{who}looks up and smiles* \u201c{words}\u201d \u2026 I like how you put that.",
    "*{who}leans closer* \u201c{words}\u201d, you say? Now you have my whole attention.",
    "\u201c{words}\u201d. *{who}repeats it softly* That is a good place to begin.",
    "Oh! *{who}puts the book aside* I was hoping somebody would say \u201c{words}\u201d today.",
    "*{who}pours two cups of tea* \u201c{words}\u201d \u2026 let me think about that for a moment.",
    "*{who}grins* \u201c{words}\u201d, is it? Sit down, this may take a while.",
)
_WORDLESS_OPENING = "*{who}looks up and smiles* There you are."
_MIDDLES = (
    "When I was younger I would have answered too quickly. These days I turn a thing over first, the way you turn "
    "a smooth stone in your pocket, until it is warm and tells you what it is.",
    "There is a window here that looks out over the harbour. Most evenings I watch the lamps come on, one after the "
    "other, and it seems to me that questions are like that too: one lights the next.",
    "I once met a clockmaker who said that every question has a small spring inside. Wind it gently and it runs by "
    "itself; force it and you spend the night looking for screws under the table.",
    "The rain has only just stopped and the whole street smells of it. On such days I find it easy to be honest, so "
    "here is the honest part: I do not know yet, but I should like to find out with you.",
    "My grandmother kept a jar for thoughts that were not finished. She wrote each on a slip of paper and drew one "
    "on Sundays. I think yours would have been drawn early.",
)
_CLOSINGS = (
    "So tell me: what made you think of it just now?",
    "And you? If it were yours to decide, where would you start?",
    "Say a little more, and I will tell you which half of it I believe.",
    "Shall we follow it a bit further, or would you rather hear a story first?",
    "What would a good answer change for you?",
)


def small_talk(instructions: str | None, message: str) -> str:
    """Three short paragraphs that take up the words of `message`; the name the instructions give is kept."""
    found = _NAME.search(instructions or "")
    who = f"{found.group(1)} " if found else ""
    # CRC-32 rather than hash(): the same in every process.
    pick = zlib.crc32(f"{who}\n{message}".encode("utf-8", "replace"))
    paragraphs = []
    for choices in (_OPENINGS, _MIDDLES, _CLOSINGS):
        pick, which = divmod(pick, len(choices))
        paragraphs.append(choices[which])
    words = _quoted(message)
    if not words:
        paragraphs[0] = _WORDLESS_OPENING
    # `words` last: it may hold anything, braces too.
    paragraphs[0] = paragraphs[0].replace("{who}", who).replace("{words}", words)
    return "\n\n".join(paragraphs)


def _quoted(message: str) -> str:
    """The beginning of `message` on one line, cut between words where it has any."""
    line = " ".join(message[: 4 * _MAX_QUOTED_CHARACTERS].split())
    if len(line) <= _MAX_QUOTED_CHARACTERS:
        return line
    cut = line[:_MAX_QUOTED_CHARACTERS]
    return (cut.rpartition(" ")[0] or cut) + "\u2026"
