"""A reply that is stored under one limit on its length answers the same request under another one, where it would come
out the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_trainer.chat.output_limits import OutputLimits, holds_under
from distillery_trainer.chat.prices import Spending
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.reply_keys import ReplyKeys
from distillery_trainer.chat.stored_replies import StoredReplies

MESSAGES = [{"role": "user", "content": "Translate: one"}]
LIMITS = st.integers(1, 40)


def parameters(limit):
    return {"temperature": 0.2, "max_tokens": limit}


def written(length, limit):
    """What a server sends of an answer of so many tokens."""
    text = " ".join(map(str, range(min(length, limit))))
    return Reply(text, "stop" if length < limit else "length", output_tokens=min(length, limit))


@pytest.mark.parametrize(
    ("reply", "under", "limit", "holds"),
    [
        (Reply("eins", "stop", output_tokens=5), 128, 512, True),
        (Reply("eins", "stop", output_tokens=5), 512, 128, True),
        (Reply("eins", "stop", output_tokens=128), 512, 128, False),
        (Reply("eins", "stop", output_tokens=200), 512, 128, False),
        (Reply("eins", "stop"), 128, 512, True),
        (Reply("eins", "stop"), 512, 128, False),
        (Reply("ei", "length", output_tokens=128), 128, 512, False),
        (Reply("ei", "length", output_tokens=128), 128, 64, True),
        (Reply("ei", "max_tokens"), 128, 129, False),
        (Reply("ei", "error"), 128, 512, False),
        (Reply("eins", None), 128, 512, True),
        (Reply("", "content_filter"), 128, 512, True),
    ],
)
def test_a_complete_reply_holds_where_it_fits_and_a_cut_off_one_under_smaller_limits(reply, under, limit, holds):
    assert holds_under(reply, under, limit) is holds


@given(length=st.integers(1, 40), under=LIMITS, limit=LIMITS)
def test_what_holds_under_another_limit_is_what_the_server_would_write_under_it(length, under, limit):
    reply, anew = written(length, under), written(length, limit)
    if holds_under(reply, under, limit):
        assert reply.finish_reason == anew.finish_reason
        assert reply.finish_reason == "length" or reply.content == anew.content
    else:
        assert (reply.finish_reason, limit > under) in {("length", True), ("stop", False)}


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 40), limits=st.lists(LIMITS, min_size=1, max_size=6))
def test_no_limit_is_paid_for_twice_and_no_complete_reply_under_a_larger_one(length, limits, tmp_path_factory):
    folder, paid = tmp_path_factory.mktemp("journal") / "replies", []
    for run, limit in enumerate(limits):
        with ReplyJournal(folder, f"generate-{run}") as journal:
            stored = StoredReplies(journal, "teacher", parameters(limit))
            found = stored.find(MESSAGES)
            if found is None:
                stored.note_limit()
                journal.add_reply(stored.key(MESSAGES), written(length, limit), Spending(1))
                paid.append(limit)
            reply = found.reply if found else written(length, limit)
            assert reply.finish_reason == written(length, limit).finish_reason
    assert len(set(paid)) == len(paid)
    complete = [limit for limit in paid if limit > length]
    assert complete == sorted(complete, reverse=True)


def test_replies_of_a_release_that_noted_no_limits_are_found_under_its_default_and_under_common_ones(tmp_path):
    with ReplyJournal(tmp_path, "generate-a") as journal:
        journal.add_reply(ReplyKeys("teacher", parameters(128)).key(MESSAGES), Reply("eins", "stop"), Spending(1))
    with ReplyJournal(tmp_path, "generate-b") as journal:
        raised = StoredReplies(journal, "teacher", parameters(700))
        assert raised.find(MESSAGES).reply.content == "eins"
        raised.note_limit()
    with ReplyJournal(tmp_path, "generate-c") as journal:
        assert StoredReplies(journal, "teacher", parameters(900)).find(MESSAGES).reply.content == "eins"


def test_other_parameters_and_other_models_still_have_replies_of_their_own(tmp_path):
    with ReplyJournal(tmp_path, "generate-a") as journal:
        StoredReplies(journal, "teacher", parameters(128)).note_limit()
        journal.add_reply(ReplyKeys("teacher", parameters(128)).key(MESSAGES), Reply("eins", "stop"), Spending(1))
        assert StoredReplies(journal, "other", parameters(512)).find(MESSAGES) is None
        assert StoredReplies(journal, "teacher", parameters(512) | {"temperature": 1}).find(MESSAGES) is None
        assert StoredReplies(journal, "teacher", parameters(512)).find(MESSAGES, sample=1) is None


def test_a_new_workspace_looks_for_no_limits_but_its_own(tmp_path):
    limits = OutputLimits(tmp_path, has_replies=False)
    assert limits.others(128) == []
    limits.add(128)
    limits.add(512)
    assert OutputLimits(tmp_path, has_replies=True).others(256) == [512, 128]
