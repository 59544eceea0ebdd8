"""Blocks: the content blocks of a step, as people write them, in the order in which readers see them (F07, F13).

The same blocks make a mail, a page and what stands around a form. Every text, address and condition may read
what a template may read; a text may also hold parameters such as $voornaam (F11).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from smp_pipelines.campaign.fields import FileModel, Name, Text, refusal

ImageFile = Annotated[str, StringConstraints(pattern=r"^[\w-]+\.(png|jpg|jpeg|gif|webp)$")]
BLOCK_TYPES = ("text", "image", "button", "form", "product", "html")


class _Block(FileModel):
    """What every block has."""

    when: Text | None = Field(
        default=None,
        description="Shown only when this holds, e.g. person.city == 'Lindenstad'; `known` says whether the "
        "visitor is known (F13)",
    )


class TextBlock(_Block):
    """Paragraphs, headings, lists and links, in Markdown."""

    type: Literal["text"] = Field(description="What kind of block this is")
    text: Text = Field(description="Markdown; may hold {{ … }} and parameters such as $voornaam")


class ImageBlock(_Block):
    """A picture."""

    type: Literal["image"] = Field(description="What kind of block this is")
    file: ImageFile = Field(description="A picture in the campaign's folder: png, jpg, gif or webp")
    alt: str = Field(description="What it shows, for who cannot see it; empty when it is only decoration")
    url: Text | None = Field(default=None, description="Where a click on it leads")


class ButtonBlock(_Block):
    """A button that leads somewhere."""

    type: Literal["button"] = Field(description="What kind of block this is")
    text: Text = Field(description="What is on it")
    url: Text = Field(description="Where it leads: https://…, or a parameter such as $voorkeurencentrum")


class FormBlock(_Block):
    """The place of the step's form; form steps only, once (F07)."""

    type: Literal["form"] = Field(description="What kind of block this is")


class ProductBlock(_Block):
    """A row of a table of records, such as a performance: its title and what else is to be shown."""

    type: Literal["product"] = Field(description="What kind of block this is")
    record: Name = Field(description="A name under `records` in smp.yaml")
    id: Annotated[int, Field(ge=0, strict=True)] | None = Field(
        default=None, description="Which row; left out: the step's linked record"
    )
    show: tuple[Name, ...] = Field(default=(), description="Columns to show under the title")
    text: Text | None = Field(default=None, description="What is on its button; needs `url`")
    url: Text | None = Field(default=None, description="Where its button leads")


class HtmlBlock(_Block):
    """Html as it is, from a file in the campaign's folder."""

    type: Literal["html"] = Field(description="What kind of block this is")
    file: Annotated[str, StringConstraints(pattern=r"^[\w-]+\.html$")] = Field(
        description="A file in the campaign's folder; it is a template too"
    )


def _block_type(value: Any) -> str | None:
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


Block = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[ImageBlock, Tag("image")]
    | Annotated[ButtonBlock, Tag("button")]
    | Annotated[FormBlock, Tag("form")]
    | Annotated[ProductBlock, Tag("product")]
    | Annotated[HtmlBlock, Tag("html")],
    Discriminator(_block_type),
]


class Redirect(FileModel):
    """Where a page leads by itself (F14)."""

    url: Text = Field(description="Begins with https://")
    after_seconds: Annotated[int, Field(ge=0, le=3600, strict=True)] = Field(
        description="How long the page is shown; 0: at once, after the answers are stored"
    )

    @model_validator(mode="after")
    def _is_safe(self) -> Redirect:
        if not self.url.startswith("https://") or len(self.url) < len("https://a.b") or not self.url.isprintable():
            raise refusal(f"a redirect leads to an https address, not to {self.url}", "let it begin with https://")
        return self
