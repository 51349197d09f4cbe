"""Commands of what a table lacks, joined to sweeps."""

from sip.tables.missing import together

START = "python -m sip.train"


def test_commands_that_differ_in_one_key_become_a_sweep() -> None:
    filled = [
        (f"{arm}, {data}: missing", f"{START} -m augmentation={arm} dataset={data} seed=0,1")
        for arm in ("cutmix", "moex", "sip")
        for data in ("digits", "dtd")
    ]
    (joined,) = together(filled)
    assert joined[1] == f"{START} -m augmentation=cutmix,moex,sip dataset=digits,dtd seed=0,1"
    assert sorted(joined[0].split("; ")) == sorted(name for name, _ in filled)


def test_a_single_run_becomes_a_sweep_only_with_another() -> None:
    alone = [("a", f"{START} augmentation=none seed=3")]
    assert together(alone) == alone
    both = together([*alone, ("b", f"{START} augmentation=sip seed=3")])
    assert both == [("a; b", f"{START} -m augmentation=none,sip seed=3")]


def test_configurations_of_ones_own_stay_in_front() -> None:
    start = "SIP_TRUSTED=mine python -m sip.train"
    alone = [("a", f"{start} --config-dir my_conf augmentation=none seed=3")]
    both = together([*alone, ("b", f"{start} --config-dir my_conf augmentation=sip seed=3")])
    assert both == [("a; b", f"{start} -m --config-dir my_conf augmentation=none,sip seed=3")]
    other = ("b", alone[0][1].replace("mine", "other"))
    assert together([*alone, other]) == [*alone, other]


def test_other_seeds_other_keys_and_lists_stay_apart() -> None:
    filled = [
        ("a", f"{START} augmentation=none seed=3"),
        ("b", f"{START} augmentation=none seed=4"),
        ("c", f"{START} augmentation=sip images=sdxl seed=3"),
        ("d", f"{START} 'prompts.ladder=[0.9,0.5]' augmentation=sip seed=3"),
        ("e", f"{START} 'prompts.ladder=[0.9,0.3]' augmentation=sip seed=3"),
    ]
    assert together(filled) == filled
