"""Templates of prompts: sentences about an action, whose name replaces {}."""

from collections.abc import Sequence

Templates = Sequence[str]

INTERNVIDEO2: Templates = (
    "a photo of action {}",
    "a picture of action {}",
    "Human action of {}",
    "{}, an action",
    "{} this is an action",
    "{}, a video of action",
    "Playing action of {}",
    "{}",
    "Playing a kind of action, {}",
    "Doing a kind of action, {}",
    "Look, the human is {}",
    "Can you recognize the action of {}?",
    "Video classification of {}",
    "A video of {}",
    "The man is {}",
    "The woman is {}",
)
"""Those of InternVideo2's evaluation."""

_FORMS = ("", " a person", *(f" a person {verb}" for verb in (
    "using", "doing", "during", "performing", "practicing"
)))  # fmt: skip

KINETICS: Templates = tuple(
    f"a {subject} of{form} {{}}."
    for subject in ("photo", "video", "example", "demonstration")
    for form in _FORMS
)
"""Those of CLIP for Kinetics, which PE-Core's evaluation takes."""

VIDEOPRISM: Templates = ("a video of {}.",)
"""That of VideoPrism's example; the one of its evaluation is not published."""


def about(names: Sequence[str], templates: Templates) -> list[str]:
    """The prompts of each name, one name after the other."""
    return [template.replace("{}", name) for name in names for template in templates]
