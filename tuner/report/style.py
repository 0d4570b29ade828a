"""How a report looks: one style sheet for phone and desk, light and dark, and for paper, with the reader's own fonts."""

STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b1f24;--soft:#57606a;--edge:#8c959f;--faint:#d8dee4;--panel:#f6f8fa;
--mark:#0550ae;--good:#116329;--warn:#8a3c00;--warned:#fff4e5;--bad:#a40e26;--shade:#dbe9f9}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--ink:#e6edf3;--soft:#a3adb8;--edge:#6e7781;--faint:#2b323b;
--panel:#161b22;--mark:#79b8ff;--good:#56d364;--warn:#f0b460;--warned:#2b2111;--bad:#ff8a80;--shade:#1b2d44}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
overflow-wrap:anywhere}
header,main,footer{max-width:62rem;margin:0 auto;padding:0 1rem}
h1{font-size:1.6rem;line-height:1.25;margin:1.2rem 0 .6rem}
h2{font-size:1.25rem;line-height:1.3;margin:2.4rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--faint)}
p{margin:.6rem 0;max-width:70ch}
a{color:var(--mark)}
a:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:3px solid var(--mark);outline-offset:2px}
.skip{position:absolute;left:-999rem}
.skip:focus{position:static;display:inline-block;padding:.6rem 1rem}
.unreal{margin:0;padding:.6rem 1rem;background:var(--warned);color:var(--warn);font-weight:600;text-align:center;
border-bottom:3px double var(--warn)}
.unreal p{margin:0 auto}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:.8rem 0;padding:0;list-style:none;font-size:.9rem}
nav a{display:inline-block;padding:.25rem 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .9rem;margin:.4rem 0}
dt{color:var(--soft)}
dd{margin:0;unicode-bidi:isolate}
.answer{font-size:1.15rem;font-weight:600;border-left:4px solid var(--mark);padding-left:.8rem}
.caution{border-left:4px solid var(--warn);background:var(--warned);padding:.4rem .8rem}
.caution strong{color:var(--warn)}
.scroll{overflow-x:auto;margin:.8rem 0;max-width:100%}
.scroll.tall{max-height:34rem;overflow-y:auto}
table{border-collapse:collapse;font-size:.9rem;overflow-wrap:normal}
caption{text-align:left;color:var(--soft);padding:0 0 .35rem;caption-side:top;overflow-wrap:anywhere}
th,td{padding:.3rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--faint);unicode-bidi:isolate}
thead th{border-bottom:2px solid var(--edge);vertical-align:bottom}
tbody th{font-weight:600}
td{min-width:3rem;max-width:32rem}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}
td.number{white-space:nowrap}
td.long{min-width:14rem;overflow-wrap:anywhere}
code,pre{font-family:ui-monospace,SFMono-Regular,Consolas,"Liberation Mono",monospace;font-size:.9em}
pre{background:var(--panel);border:1px solid var(--faint);border-radius:6px;padding:.7rem .8rem;margin:.3rem 0 .9rem;
white-space:pre-wrap;overflow-wrap:anywhere}
.label{margin-bottom:0;color:var(--soft)}
.gallery{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:.8rem;margin:.8rem 0}
figure{margin:0;max-width:34rem}
figcaption{font-weight:600;font-size:.9rem}
svg{display:block;width:100%;height:auto;background:var(--page)}
svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--ink)}
svg text.strong{font-weight:600}
svg .axis,svg .whisker{fill:none;stroke:var(--ink);stroke-width:1}
svg .whisker{stroke-width:1.6}
svg .grid{fill:none;stroke:var(--faint);stroke-width:.7}
svg .line{fill:none;stroke:var(--mark);stroke-width:1.6;stroke-linejoin:round}
svg .bar{fill:var(--mark);fill-opacity:.55}
svg .window{fill:var(--shade)}
svg .edge{fill:none;stroke:var(--edge);stroke-width:1;stroke-dasharray:3 3}
svg .mark{stroke-width:1.4;fill:var(--soft);stroke:var(--soft)}
svg .mark.misses{fill:var(--page);stroke:var(--warn)}
svg .mark.early{fill:var(--page);stroke:var(--soft)}
svg .mark.other{fill:var(--page)}
svg .mark.failed{fill:none;stroke:var(--bad);stroke-width:1.8}
svg .mark.chosen{fill:none;stroke:var(--good);stroke-width:2}
svg .mark.defaults{fill:var(--mark);stroke:var(--mark)}
details{margin:.6rem 0}
summary{cursor:pointer;padding:.3rem 0;color:var(--mark)}
footer{padding:1.5rem 1rem 3rem;color:var(--soft);font-size:.9rem}
@media print{
:root{color-scheme:light;--page:#fff;--ink:#000;--soft:#444;--edge:#666;--faint:#ccc;--panel:#fff;--mark:#0550ae;--good:#116329;
--warn:#8a3c00;--warned:#fff;--bad:#a40e26;--shade:#e4e4e4}
body{font-size:10.5pt}
nav,.skip{display:none}
header,main,footer{max-width:none;padding:0}
h2{break-after:avoid}
figure,tr,.answer,.caution{break-inside:avoid}
.scroll,.scroll.tall{overflow:visible;max-height:none}
table{font-size:8pt;width:100%;overflow-wrap:anywhere}
th,td,td.long{min-width:0;padding:.15rem .3rem}
thead th{white-space:normal}
.gallery{grid-template-columns:1fr 1fr}
@page{margin:14mm}
}
"""
