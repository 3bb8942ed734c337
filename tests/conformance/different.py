"""Programs that see something else on graph_runtime on purpose, and why. docs/differences.md says it to readers."""

from __future__ import annotations

DIFFERENT = {
    "update_as_input": "a caller's update is a checkpoint of its own, not a note on the one before it",
    "updates_in_bulk": "an edit is no result of the node that was due: its checkpoint alone shows it",
    "commands_are_values": "None is an answer like any other, so a Command without one shows that it has none",
    "asked_again": "a node that waits for its answer is not run again only to ask the same question",
    "questions_in_gather": "questions that a node asks at once are open at once, and are answered by id",
    "failing_after_the_answer": "an answer is delivered once: after a failure the question is asked anew",
    "a_failing_sibling": "a failed run asks nothing: None retries it, and what was asked is asked anew",
    "the_limit_inside": "a subgraph that has come to its end within its limit needs no step more to see that",
    "exit_is_stored_last": "exit stores the input before the first node runs, so that a killed call can go on",
    "context_is_not_stored": "a node that waits for its answer is not run again only to ask the same question",
}
