"""Blocks as a page: the template of a form's or page's body, from the blocks of its step (F07, F13).

The classes are what a theme's style.css is written for: block, text, image, action, button, form, product, html.
"""

from __future__ import annotations

import html
from urllib.parse import quote

from smp_pipelines.campaign.blocks import Block, ButtonBlock, FormBlock, HtmlBlock, ImageBlock, ProductBlock, TextBlock
from smp_pipelines.campaign.content.markup import jinja_text
from smp_pipelines.campaign.content.pictures import picture_size
from smp_pipelines.campaign.content.writing import Writer, tag
from smp_pipelines.campaign.project import LoadedProject, StepRef

FORM = "_form"
"""Under which name the form's html comes into the template; no template of a person can read a name like this."""


def page_template(ref: StepRef, project: LoadedProject) -> str:
    """The Jinja template of a step's body, blocks from top to bottom. Raises ProjectError for a missing file."""
    writer = Writer(ref, project)
    parts = []
    for block in ref.step.blocks:
        before, after = writer.condition(block)
        parts.append(f"{before}{_written(writer, block)}{after}")
    return jinja_text("\n".join(parts))


def media_path(campaign: str, file: str) -> str:
    """Where the site gives a picture of a campaign: /media/welcome/foyer.jpg."""
    return f"/media/{quote(campaign)}/{quote(file)}"


def _written(writer: Writer, block: Block) -> str:
    match block:
        case TextBlock():
            text = "\n".join(piece.html for piece in writer.markdown(block.text))
            return f'<div class="block text">\n{text}\n</div>'
        case ImageBlock():
            return _image(writer, block)
        case ButtonBlock():
            return f'<p class="block action">{_button(writer, block.text, block.url)}</p>'
        case FormBlock():
            return f'<div class="block form">{html.escape("{{ " + FORM + " }}")}</div>'
        case ProductBlock():
            return _product(writer, block)
        case HtmlBlock():
            return f'<div class="block html">\n{writer.file(block)}\n</div>'


def _button(writer: Writer, text: str, url: str) -> str:
    return f'<a class="button" href="{writer.address(url)}">{writer.text(text)}</a>'


def _image(writer: Writer, block: ImageBlock) -> str:
    source = html.escape("{{ site_url }}") + media_path(writer.ref.campaign, block.file)
    size = picture_size(writer.ref.folder / block.file)
    sized = f' width="{size[0]}" height="{size[1]}"' if size else ""
    image = f'<img src="{source}" alt="{writer.text(block.alt)}"{sized}>'
    if block.url:
        image = f'<a href="{writer.address(block.url)}">{image}</a>'
    return f'<div class="block image">{image}</div>'


def _product(writer: Writer, block: ProductBlock) -> str:
    facts = "\n".join(f"{tag(f'if {fact.test}')}<p>{fact.text}</p>{tag('endif')}" for fact in writer.facts(block))
    button = f'\n<p class="action">{_button(writer, block.text, block.url)}</p>' if block.text and block.url else ""
    return f'<div class="block product">\n<h2>{writer.title(block)}</h2>\n{facts}{button}\n</div>'
