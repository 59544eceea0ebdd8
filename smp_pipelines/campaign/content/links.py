"""Links: what templates know as `links`: addresses on the site that are made for one reader (F10, F11).

They are made where the signing keys are, in sending and on the site; here is what they must be able to do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smp_pipelines.campaign.project import LoadedProject, StepRef

LINK_NAMES = frozenset(("to", "next", "unsubscribe", "view", "confirm"))
"""What the template of a mail may ask of `links`; the sandbox gives it nothing else."""

PAGE_LINK_NAMES = frozenset(("to", "next"))
"""What a form or page may ask of `links`: the others belong to a mail."""


class Links(ABC):
    """The links of one mail or page. Each is made when a template asks for it."""

    @abstractmethod
    def to(self, step: str) -> str:
        """The address of a form or page: its name, or campaign/step (F10)."""

    @property
    @abstractmethod
    def next(self) -> str:
        """The address of the next step, when that is a form or page; else nothing."""

    @property
    def site_url(self) -> str:
        """The site's address, without a / at its end, before the pictures of a mail. Templates cannot ask for it."""
        return ""

    @property
    def unsubscribe(self) -> str:
        """The page to unsubscribe on; nothing where there is no mail."""
        return ""

    @property
    def view(self) -> str:
        """The mail in a browser; nothing where there is no mail."""
        return ""

    @property
    def confirm(self) -> str:
        """The page on which a submission is confirmed (double opt-in); nothing where there is no mail."""
        return ""


class CampaignLinks(Links):
    """Links from the mail or page of a step to forms and pages: by name in its own campaign, or campaign/step."""

    def __init__(self, project: LoadedProject, ref: StepRef) -> None:
        self._project = project
        self._ref = ref

    @abstractmethod
    def _address(self, ref: StepRef) -> str:
        """Where this step is, for whoever reads this."""

    def to(self, step: str) -> str:
        """The address of a form or page: its name, or campaign/step. Raises SmpError when there is no such step."""
        return self._address(self._project.step(step if "/" in step else f"{self._ref.campaign}/{step}"))

    @property
    def next(self) -> str:
        """The address of the next step, when that is a form or page; else nothing."""
        key = self._ref.next_key
        following = self._project.step(key) if key is not None else None
        return "" if following is None or following.step.is_mail else self._address(following)


class NoLinks(Links):
    """Links that lead nowhere, for trials and for looking at a text without a reader."""

    def to(self, step: str) -> str:  # noqa: ARG002 - it leads nowhere, whatever the step
        """Nowhere."""
        return "#"

    @property
    def next(self) -> str:
        """Nowhere."""
        return "#"

    @property
    def unsubscribe(self) -> str:
        """Nowhere."""
        return "#"

    @property
    def view(self) -> str:
        """Nowhere."""
        return "#"

    @property
    def confirm(self) -> str:
        """Nowhere."""
        return "#"
