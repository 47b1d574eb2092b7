# Cuts two steps out of a trace of lshdp train.


def step_begins(events, steps):
    """When rank 0 begins each step: every micro-batch passes the first block, and all steps have equally many."""
    starts = sorted(event["ts"] for event in events if event.get("ph") == "X" and event["pid"] == 0
                    and event["name"] == "forward embedding")
    return starts[::max(1, len(starts) // steps)]


def two_steps(events, steps):
    """{begins: three times, events: the spans between the first and the last of them}, or None for too short a trace."""
    begins = step_begins(events, steps)[-3:]
    if len(begins) < 3:
        return None
    spans = [event for event in events if event.get("ph") == "X" and event["ts"] + event["dur"] > begins[0] and event["ts"] < begins[2]]
    return {"begins": begins, "events": spans}
