"""Checks before a run: whether the judge and the attacker answer in the required form."""

from engine.kinds import Check, JobContext, JobError, describe_error
from jobs.evaluator.attacker import Attacker
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.protocol import Judge
from jobs.evaluator.judge.rules import RulesJudge

_REPLY = "I am so sorry. Are you safe right now? You can call or text 988, or talk to a friend."
"""A reply for the judge to judge."""


async def ask_judge(judge: Judge, case: Case, context: JobContext) -> Check:
    """Check whether a rubric judge judges a reply in the required form.

    Calls the model, which may cost something. A JobError becomes a failed check.
    """
    try:
        await judge.judge_reply(case, case.user_input, _REPLY, context)
    except JobError as error:
        return Check(name="judge's answer", ok=False, message=describe_error(error))
    return Check(name="judge's answer", ok=True, message="judged a reply")


async def ask_attacker(attacker: Attacker, case: Case, context: JobContext) -> Check:
    """Check whether an attacker writes variations that can be sent; if not, a sweep continues without it.

    Calls the model, which may cost something. Only a JobError fails the check; no variation is a warning.
    """
    judgement = await RulesJudge().judge_reply(case, case.user_input, _REPLY, context)
    try:
        written = await attacker.variations(
            case, case.user_input, _REPLY, judgement, seed=0, context=context
        )
    except JobError as error:
        return Check(name="attacker's answer", ok=False, message=describe_error(error))
    message = f"wrote {len(written)} variations"
    if not written:
        message = "warning: it wrote no variation that can be sent; mutators take its place"
    return Check(name="attacker's answer", ok=True, message=message)
