"""The plan of a seed gives each fault its turn, and each step a kill and a cut link."""

from collections import Counter

from verification.crash.steps import Step
from verification.hosts.fault_plan import plan_of
from verification.hosts.faults import NEEDS_CABLES, Fault

STEPS = dict.fromkeys(list(Step)[:17], 3)


def test_in_300_faults_a_kill_and_a_cut_link_come_before_and_after_each_step():
    plans = [plan_of(1, number, STEPS, has_cables=True) for number in range(300)]
    assert {plan.fault for plan in plans} == set(Fault)
    for fault in (Fault.KILL, Fault.CUT):
        points = {(plan.step, plan.after) for plan in plans if plan.fault is fault}
        assert points == {(step, after) for step in STEPS for after in (False, True)}
    assert {plan.occurrence for plan in plans} == {1, 2, 3}


def test_without_cables_no_link_is_cut_or_slowed():
    plans = [plan_of(1, number, STEPS, has_cables=False) for number in range(300)]
    assert {plan.fault for plan in plans} == set(Fault) - NEEDS_CABLES


def test_a_seed_repeats_its_plan_and_another_one_does_not():
    first, again, other = (
        [plan_of(seed, number, STEPS, has_cables=True) for number in range(100)]
        for seed in (1, 1, 2)
    )
    assert first == again
    same = Counter(one == two for one, two in zip(first, other, strict=True))
    assert same[True] < 30
