"""Rules are read, and what is wrong with one is told by its column."""

from __future__ import annotations

import pytest

from bench.analysis.gate.rules import Rule, parse_rule, parse_rules
from bench.errors import RuleError


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("bd_rate(psnr_y)>0.5%", ("bd_rate", "psnr_y", "mean", 1, 0.5)),
        ("  bd_rate ( psnr_rgb:dcvc ) > .5 %", ("bd_rate", "psnr_rgb:dcvc", "mean", 1, 0.5)),
        ("worst bd_rate(vmaf)>2%", ("bd_rate", "vmaf", "worst", 1, 2.0)),
        ("bd_metric(psnr_y)<-0.05", ("bd_metric", "psnr_y", "mean", -1, -0.05)),
        ("bd_metric(lpips_alex)>0.001", ("bd_metric", "lpips_alex", "mean", 1, 0.001)),
        ("psnr_y<-0.1", ("value", "psnr_y", "mean", -1, -0.1)),
        ("psnr_y<0", ("value", "psnr_y", "mean", -1, 0.0)),
        ("encode_s>+10%", ("cost", "encode_s", "mean", 1, 10.0)),
        ("decode_memory>5%", ("cost", "decode_memory", "mean", 1, 5.0)),
        ("bytes>1%", ("bytes", "", "mean", 1, 1.0)),
        ("failed_cells>2", ("failed_cells", "", "mean", 1, 2.0)),
    ],
)
def test_rules_are_read(text: str, rule: tuple[object, ...]) -> None:
    found = parse_rule(text)
    assert (found.kind, found.name, found.scope, found.sign, found.threshold) == rule


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "a quantity"),
        ("bd_rate>1%", 8, r"'\(' and a metric"),
        ("bd_rate(psnr)>1%", 9, "did you mean xpsnr"),
        ("bd_rate(psnr_y>1%", 15, r"expected '\)' here"),
        ("bd_rate(psnr_y)", 16, "expected '>' or '<' here"),
        ("bd_rate(psnr_y)<1%", 16, "a rise is worse; write >"),
        ("psnr_y>1", 7, "a fall is worse; write <"),
        ("lpips_alex<0.1", 11, "a rise is worse"),
        ("bd_rate(psnr_y)>", 17, "a number"),
        ("bd_rate(psnr_y)>0.5", 20, "write a %"),
        ("bd_rate(psnr_y)>-0.5%", 17, "0 or more"),
        ("psnr_y<0.1", 8, "0 or less"),
        ("psnr_y<-1%", 10, "no % here"),
        ("encode_s>10", 12, "per cent"),
        ("encod_s>10%", 1, "did you mean encode_s"),
        ("worst encode_s>10%", 1, "leave 'worst' out"),
        ("failed_cells>1.5", 14, "whole"),
        ("bd_rate(psnr_y)>1% bytes>1%", 20, "nothing may follow"),
        ("bd_rate(psnr_y)≥1%", 16, "no meaning in a rule"),
        ("pyiqa<1", 1, "family"),
        ("psnr_y<nan", 8, "a number"),
    ],
)
def test_what_is_wrong_is_told_by_its_column(text: str, column: int, says: str) -> None:
    with pytest.raises(RuleError, match=says) as caught:
        parse_rule(text)
    assert caught.value.column + 1 == column
    assert str(caught.value).splitlines()[-1] == " " * (column + 1) + "^"


def test_a_rule_with_control_characters_stays_on_its_line() -> None:
    with pytest.raises(RuleError) as caught:
        parse_rule("bytes\n\x1b[2J>x%")
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3


def test_two_bounds_on_one_thing_are_refused_and_mean_and_worst_are_two_things() -> None:
    assert len(parse_rules(["bytes>1%", "worst bytes>3%"])) == 2
    with pytest.raises(RuleError, match="bounded by 'bytes>1%' already"):
        parse_rules(["bytes>1%", "bytes > 2 %"])


def test_the_threshold_itself_is_tolerated() -> None:
    rule: Rule = parse_rule("bytes>1%")
    assert not rule.is_beyond(1.0)
    assert rule.is_beyond(1.0001)
    fall = parse_rule("psnr_y<-0.1")
    assert fall.is_beyond(-0.2) and not fall.is_beyond(0.3)
    assert fall.is_worse(-0.01) and not fall.is_worse(0.01)


def test_a_rule_may_name_a_pooling_and_a_scale() -> None:
    rule = parse_rule("bd_rate(vmaf@p5) > 1%")
    assert (rule.name, rule.axis.metric, rule.axis.pooling) == ("vmaf@p5", "vmaf", "p5")
    assert parse_rule("bd_metric(ssim)<-0.1").unit == "dB"
    assert parse_rule("ssim<-0.001").unit == ""
    assert parse_rule("ssim:db<-0.1").unit == "dB"
    with pytest.raises(RuleError, match="column 9: unknown pooling of vmaf 'p6'"):
        parse_rule("bd_rate(vmaf@p6)>1%")
