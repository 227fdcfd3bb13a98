"""Several students on one server: what a guest needs of its host, and what the host's Pods load for its guests.

A guest never changes anything of its host's, and what only one of the two can decide is said by the other one: each
problem names the field, and where to change it. What is served stays as it is meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from distillery_api.reasons import Reason
from distillery_api.spec import Task
from distillery_operator.core.observation import Guest, ObservedHost
from distillery_operator.core.observe_shared_server import adapters_in
from distillery_operator.core.problem import Problem
from distillery_operator.core.server_progress import ServerProgress, blocked_since
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.server import Server
from distillery_operator.manifests.serving import all_student_names
from distillery_operator.manifests.shared_server import MOST_STUDENTS
from distillery_operator.planning import names
from distillery_operator.planning.adapters import base_folder, planned_adapter
from distillery_operator.planning.plan import Plan

Check = Callable[[Situation, Plan], str | None]
"""Why the student cannot be served by this host, if it cannot."""


def shared_server_problem(situation: Situation) -> Problem | None:
    """Why the student cannot be served by the server that `serving.sharedServer` names. One that is not there may
    come; anything else is for a person to change."""
    name, host = situation.plan.host, situation.observation.host
    if name is None or host is None:
        return None
    if name == situation.plan.name:
        return _invalid("serving.sharedServer names this Distillation itself; name another one")
    if host.plan is None:
        return _missing(situation, name, host)
    sentences = (check(situation, host.plan) for check in _CHECKS)
    sentence = next((each for each in sentences if each), None)
    return _invalid(sentence) if sentence else None


def unusable_host(situation: Situation) -> ServerProgress | None:
    """What keeps the student from the host's server, and whether only a person can help; None where nothing does."""
    problem = shared_server_problem(situation)
    if problem is None:
        waits = _waits_for_host(situation)
        return ServerProgress(waits) if waits else None
    since = blocked_since(situation, problem)
    stalled = problem.reason is Reason.INVALID_SPEC or situation.blocked_too_long(since)
    return ServerProgress(problem, stalled, since)


def _waits_for_host(situation: Situation) -> Problem | None:
    name, host = situation.plan.host, situation.observation.host
    if name is None or host is None or host.plan is None:
        return None
    if host.server is None:
        why = _why_not(host.plan, host.stalled)
        return Problem(Reason.ROLLING_OUT, f"waiting for the shared server of {name}, which does not serve yet{why}")
    if host.deployment and host.deployment.desired == 0 and situation.replicas > 0:
        message = f"the shared server of {name} is stopped while a stage of {name} uses its GPU"
        return Problem(Reason.YIELDED_GPU, f"{message}, and starts again afterwards")
    return None


def _why_not(host: Plan, stalled: str | None) -> str:
    if host.suspended:
        return f": {host.name} is suspended"
    return f": {host.name} is stalled ({stalled})" if stalled else ""


def awaited_of_host(situation: Situation) -> str:
    """What a guest waits for while nothing is wrong, in words."""
    name, seen = situation.plan.host, situation.observation.deployment
    if seen is None or seen.rolled_out:
        return f"the shared server of {name} is loading the student"
    return f"the shared server of {name} is starting"


def adapters_of_guests(situation: Situation, server: Server) -> dict[str, str]:
    """The adapters that the Pods of the host's `server` load for its guests, by name. One that does not fit its base
    model is left out."""
    guests = (guest for guest in situation.observation.guests if _fits(situation.plan, server, guest))
    return {name: path for guest in guests for name, path in guest.adapters.items()}


def served_guests(situation: Situation, server: Server | None) -> tuple[str, ...]:
    """The names of the guests whose students the host's `server` serves."""
    if server is None or situation.plan.host:
        return ()
    return tuple(guest.plan.name for guest in situation.observation.guests if _fits(situation.plan, server, guest))


def _fits(host: Plan, server: Server, guest: Guest) -> bool:
    own, other = server.model.adapter, guest.server.model.adapter if guest.server else None
    if own is None or other is None or guest.plan.claim_name != host.claim_name:
        return False
    return other.base == own.base and other.rank <= own.max_rank


def _invalid(sentence: str) -> Problem:
    return Problem(Reason.INVALID_SPEC, sentence)


def _missing(situation: Situation, name: str, host: ObservedHost) -> Problem:
    what = "is invalid" if host.invalid else f"does not exist in the namespace {situation.plan.namespace}"
    return Problem(Reason.CONFIGURATION_MISSING, f"serving.sharedServer: the Distillation {name} {what}")


def _serves(_: Situation, host: Plan) -> str | None:
    if host.served:
        return None
    return f"serving.sharedServer: {host.name} has no server (its serving.mode is None); set its mode to Deployment"


def _has_own_server(_: Situation, host: Plan) -> str | None:
    if host.host is None:
        return None
    return f"serving.sharedServer: {host.name} has no server of its own; name {host.host}, whose server it shares"


def _loads_adapters(_: Situation, host: Plan) -> str | None:
    if base_folder(host.spec):
        return None
    return (
        f"serving.sharedServer: the server of {host.name} loads no adapters (its serving.adapter is Merged); set that"
        " to LoRA"
    )


def _has_same_claim(situation: Situation, host: Plan) -> str | None:
    if situation.plan.claim_name == host.claim_name:
        return None
    return (
        f"storage.claimName: the shared server of {host.name} mounts the claim {host.claim_name}, not"
        f" {situation.plan.claim_name}; delete this Distillation, and apply it with that claim"
    )


def _has_same_base(situation: Situation, host: Plan) -> str | None:
    plan = situation.plan
    if base_folder(plan.spec) == base_folder(host.spec):
        return None
    if plan.spec.student.model.uri != host.spec.student.model.uri:
        return (
            f"student.model.uri: the shared server of {host.name} serves {host.spec.student.model.uri}; write the same"
        )
    calls, host_calls = (each.spec.task is Task.TOOL_CALLING for each in (plan, host))
    if calls is not host_calls:
        does = "calls tools" if host_calls else "calls no tools"
        return (
            f"task: the student of {host.name}, with whose chat template this one is served, {does}; remove"
            " serving.sharedServer, or name a host of the same kind"
        )
    if plan.spec.student.tool_format is not host.spec.student.tool_format:
        return (
            f"student.toolFormat: it is {host.spec.student.tool_format} in {host.name}, with whose chat template the"
            " student is served; write the same"
        )
    keeps = str(host.spec.generation.keep_reasoning).lower()
    return (
        f"generation.keepReasoning: it is {keeps} in {host.name}, with whose chat template the student is served; write"
        " the same"
    )


def _has_no_larger_rank(situation: Situation, host: Plan) -> str | None:
    seen = situation.observation.host
    deployed, planned = seen.server if seen else None, planned_adapter(host.spec, "")
    started_for = deployed.model.adapter if deployed else planned
    if started_for is None or situation.plan.spec.training.adapter_rank <= started_for.max_rank:
        return None
    return (
        f"training.lora.rank: the shared server of {host.name} is started for ranks up to {started_for.max_rank}; lower"
        f" it, or raise that of {host.name}"
    )


def _has_same_key(situation: Situation, host: Plan) -> str | None:
    key, wanted = situation.plan.spec.serving.api_key, host.spec.serving.api_key
    if key == wanted:
        return None
    if wanted is None:
        return f"serving.apiKey: the shared server of {host.name} wants no key; remove it, or set it there as well"
    return (
        f"serving.apiKey: the shared server of {host.name} wants the key {wanted.key} of the Secret"
        f" {wanted.secret_name}; name the same"
    )


def _has_free_names(situation: Situation, host: Plan) -> str | None:
    """A name belongs to the host, then to whom it leads to already, then to the first guest in the alphabet."""
    own = all_student_names(situation.plan)
    for taken, owner in (*_names_of_host(host), *_names_of_others(situation)):
        if taken in own:
            field = "metadata.name" if taken == situation.plan.name else "serving.modelNames"
            return f"{field}: on the shared server of {host.name}, {taken} is a name of {owner} already; choose another"
    return None


def _names_of_host(host: Plan) -> Iterable[tuple[str, str]]:
    of_students = ((name, f"the student of {host.name}") for name in all_student_names(host))
    return (*of_students, (names.base_model_name(host.name), "the base model"))


def _names_of_others(situation: Situation) -> Iterable[tuple[str, str]]:
    """The names that are not to be had, of other guests of the host."""
    held = _held_names(situation)
    for guest in situation.observation.guests:
        yield from ((name, guest.plan.name) for name in guest.adapters)
        if guest.plan.name < situation.plan.name:
            yield from ((name, guest.plan.name) for name in all_student_names(guest.plan) if name not in held)


def _held_names(situation: Situation) -> frozenset[str]:
    """The names that lead to this guest's student already."""
    seen = situation.observation.deployment
    manifest = seen.manifest if seen else {}
    return frozenset(adapters_in(manifest))


def _has_room(situation: Situation, host: Plan) -> str | None:
    plan, guests = situation.plan, situation.observation.guests
    is_there = situation.observation.deployment is not None
    before = [guest for guest in guests if guest.server or (not is_there and guest.plan.name < plan.name)]
    if is_there or len(before) + 1 < MOST_STUDENTS:
        return None
    return (
        f"serving.sharedServer: the server of {host.name} serves {MOST_STUDENTS} students, and has room for no other;"
        " share another server"
    )


_CHECKS: tuple[Check, ...] = (
    _serves,
    _has_own_server,
    _loads_adapters,
    _has_same_claim,
    _has_same_base,
    _has_no_larger_rank,
    _has_same_key,
    _has_free_names,
    _has_room,
)
