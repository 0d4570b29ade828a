"""Time lines as a terminal shows them."""

from dataclasses import replace

from tuner.cli.sparklines import sparklines
from tuner.types import Timeline

RAMP = Timeline(
    t_s=tuple(float(second) for second in range(1, 9)),
    window_begin_s=4.0,
    window_end_s=8.0,
    output_throughput=(0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0),
    running=(None, None, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0),
    waiting=(0.0,) * 8,
    kv_cache_usage=(0.5,) * 8,
    server_cores=(None, None, None, None, 1.25, 1.25, 1.25, 1.25),
)


def test_each_series_has_its_blocks_and_its_ends() -> None:
    assert sparklines(RAMP, encoding="utf-8") == [
        "tok/s         ▁▂▃▄▅▆▇█  0..700",
        "running         ██████  8..8",
        "KV cache %    ████████  50..50",
        "server cores      ████  1.2..1.2",
        "measured          ▔▔▔▔  4 s",
    ]


def test_a_terminal_without_the_blocks_gets_ascii() -> None:
    for encoding in ("ascii", "latin-1", "no such encoding"):
        lines = sparklines(RAMP, encoding=encoding)
        assert all(line.isascii() for line in lines)
        assert lines[0].split()[1] == "_.-=+*#@"
        assert lines[-1].split() == ["measured", "~~~~", "4", "s"]


def test_a_long_load_fits_the_screen_and_keeps_its_worst_moment() -> None:
    samples = 400
    long = replace(
        RAMP,
        t_s=tuple(float(second + 1) for second in range(samples)),
        window_begin_s=200.0,
        window_end_s=400.0,
        output_throughput=(1234.5,) * samples,
        running=(),
        waiting=(),
        kv_cache_usage=(),
        server_cores=(),
        preemptions=tuple(3.0 if second == 250 else 0.0 for second in range(samples)),
    )
    for width in (50, 80, 200):
        lines = sparklines(long, width, encoding="utf-8")
        assert len(lines) == 3
        assert all(len(line) <= width for line in lines)
        assert lines[1].count("█") in (1, 2)
        assert lines[1].endswith("0..3")


def test_nothing_known_is_nothing_shown() -> None:
    assert sparklines(Timeline(t_s=(), window_begin_s=0.0, window_end_s=0.0)) == []
    assert (
        sparklines(replace(RAMP, output_throughput=(None,) * 8, running=(), kv_cache_usage=(), server_cores=())) == []
    )
