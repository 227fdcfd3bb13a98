"""What the status says about a canary."""

from __future__ import annotations

from distillery_api.formatting import shortened
from distillery_api.resource import PROMOTE_ANNOTATION
from distillery_api.status import Canary as CanaryStatus
from distillery_operator.core.assessment import Assessment
from distillery_operator.core.canary import Canary
from distillery_operator.core.canary_shares import present_share
from distillery_operator.core.problem import STAGE_MESSAGE_LIMIT
from distillery_operator.core.servers import candidate_server
from distillery_operator.core.situation import Situation


def canary_status(assessment: Assessment) -> CanaryStatus | None:
    """How far the canary is; while the server's own Pods replace those of a candidate that takes over, as before."""
    situation, rollout = assessment.situation, assessment.rollout
    step, serving = rollout.canary, situation.previous.serving
    if step is None:
        ends = candidate_server(situation) is not None and not rollout.drops_candidate
        return serving.canary if ends and serving else None
    problem = rollout.problem.message if rollout.problem else None
    return CanaryStatus(
        train=step.candidate.model.train_hash,
        server=step.candidate.digest,
        step=min(step.step, len(step.steps)),
        steps=len(step.steps),
        percent=step.percent,
        share=present_share(situation.observation),
        since=step.since,
        message=shortened(problem or canary_sentence(situation, step), STAGE_MESSAGE_LIMIT),
        stable_start=step.start.stable if step.start else None,
        candidate_start=step.start.candidate if step.start else None,
        left_over=step.left_over,
    )


def canary_sentence(situation: Situation, step: Canary) -> str:
    """What the canary waits for, as a person reads it."""
    path, before = step.candidate.model.model_path, step.stable.model.model_path
    if step.takes_over:
        return f"canary: {path} takes over"
    if not step.takes_requests:
        does = "is being verified" if step.answers else "is starting"
        return f"canary: the server of {path} {does} beside that of {before}, which answers all requests"
    number = f"canary: step {step.step} of {len(step.steps)}"
    if step.since is None:
        return f"{number}: {path} is to get its share of the requests"
    share = f"{path} answers {present_share(situation.observation)} % of the requests"
    if step.is_paused:
        return f"{number} waits to be promoted: {_promotion_command(situation, step)}; {share} until then"
    if step.due and step.due <= situation.now and step.lacks:
        return f"{number} goes on: {share}, and too little is known of it: {step.lacks}"
    due = f" until {step.due:%F %H:%M:%S} UTC" if step.due else ""
    return f"{number}: {share}{due}, then {_next(step)}"


def _promotion_command(situation: Situation, step: Canary) -> str:
    plan = situation.plan
    return f"kubectl -n {plan.namespace} annotate distill {plan.name} {PROMOTE_ANNOTATION}={step.promotion} --overwrite"


def _next(step: Canary) -> str:
    following = [f"{each.percent} %" for each in step.steps[step.step :]]
    return ", ".join([*following, "all"])
