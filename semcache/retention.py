"""Which answers are kept: the first objection, or none.

Never kept, whatever a namespace says: an empty answer, one that ended otherwise than it may, one that is larger than the
caps. The caller offers complete answers of a successful call only; what it knows beyond the completion it does not offer.
"""

from __future__ import annotations

from collections.abc import Mapping

from semcache.answers import Offer, Refusal
from semcache.deixis import is_deictic

_LABEL_BYTES_MAX = 128


def objection(offer: Offer) -> tuple[Refusal, str]:
    """Return why an offer is not kept, with details for people; `Refusal.NONE` where it is."""
    namespace = offer.namespace
    if not namespace.enabled:
        return Refusal.DISABLED, ""
    if missing := namespace.missing(offer.scope):
        return Refusal.MISSING_SCOPE, missing
    if too_large := _too_large(offer):
        return Refusal.TOO_LARGE, too_large
    return _of_completion(offer) or _of_turn(offer) or (Refusal.NONE, "")


def _too_large(offer: Offer) -> str:
    bounds, completion = offer.namespace.retention, offer.completion
    sizes = {
        "prompt": (_bytes(offer.turn.prompt), bounds.prompt_bytes_max),
        "text": (_bytes(completion.text) + _bytes(completion.tool_calls), bounds.text_bytes_max),
        "body": (len(completion.body), bounds.body_bytes_max),
        "tags": (len(offer.tags), bounds.tags_max),
        "source": (len(offer.source), bounds.tags_max),
        "tag": (max(map(_bytes, offer.tags), default=0), _LABEL_BYTES_MAX),
        "source pair": (max((_bytes(key + value) for key, value in offer.source.items()), default=0), _LABEL_BYTES_MAX),
    }
    if offer.namespace.history == "similar":
        sizes["history"] = (_bytes(offer.turn.history), bounds.history_bytes_max)
    return next((f"{name}: {size} of {most}" for name, (size, most) in sizes.items() if size > most), "")


def _of_completion(offer: Offer) -> tuple[Refusal, str] | None:
    bounds, completion = offer.namespace.retention, offer.completion
    if completion.tool_calls and not bounds.tool_calls:
        return Refusal.TOOL_CALLS, ""
    is_calling = bool(completion.tool_calls) and completion.finish_reason == "tool_calls"
    if completion.finish_reason not in bounds.finish_reasons and not is_calling:
        return Refusal.INCOMPLETE, f"finish_reason: {completion.finish_reason[:_LABEL_BYTES_MAX]}"
    if not completion.text.strip() and not completion.tool_calls:
        return Refusal.INCOMPLETE, "text: is empty"
    temperature = _temperature(offer)
    if temperature is not None and temperature > bounds.temperature_max:
        return Refusal.TEMPERATURE, f"{temperature:g} of {bounds.temperature_max:g}"
    return None


def _of_turn(offer: Offer) -> tuple[Refusal, str] | None:
    # With a conversation in the scope an equal turn in an equal conversation means the same: it is kept, exact only.
    has_place = bool(offer.turn.others) or offer.namespace.retention.deictic
    return None if has_place or not is_deictic(offer.turn.prompt) else (Refusal.DEICTIC, "")


def _temperature(offer: Offer) -> float | None:
    told = offer.scope.sampling.get("temperature") if isinstance(offer.scope.sampling, Mapping) else None
    if offer.temperature is not None:
        return offer.temperature
    return float(told) if isinstance(told, int | float) else None


def _bytes(text: str) -> int:
    return len(text.encode())
