"""The page's style sheet: one accent for the baseline, one for live data, which also differ without colour.

Blue and vermilion after Okabe and Ito, which colour-blind readers can distinguish; the baseline is an area or a hollow
bar, live a line or a filled bar.
"""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--page:#fff;--card:#f7f8fa;--line:#d5d9e0;--soft:#e9ecf1;--text:#1d2129;--quiet:#535b69;
--baseline:#0b63a5;--baseline-fill:#cfe2f2;--live:#b84a00;--bad:#a3121f;--bad-fill:#fdeeee;--good:#1c6b3a;
--good-fill:#edf6f0;--open-fill:#f2f3f5;--link:#0b5394}
@media (prefers-color-scheme:dark){:root{--page:#14171c;--card:#1c2027;--line:#3a414d;--soft:#2a303a;--text:#e8eaee;
--quiet:#a9b1bf;--baseline:#6cb6f0;--baseline-fill:#20435f;--live:#f0a04b;--bad:#ff9a94;--bad-fill:#3a1d20;
--good:#8ad3a4;--good-fill:#17301f;--open-fill:#22272f;--link:#8cc2f5}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:72rem;padding:1.5rem 1.25rem 4rem;background:var(--page);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:break-word}
h1,h2,h3,h4{line-height:1.25;margin:0;font-weight:650}
h1{font-size:1.6rem}h2{font-size:1.25rem;margin:2.75rem 0 .5rem;padding-top:.75rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.5rem 0 .4rem}
p{margin:.4rem 0;max-width:48rem}a{color:var(--link)}
.quiet,figcaption,caption{color:var(--quiet);font-size:.875rem}
.lead{color:var(--quiet);margin:.25rem 0 1rem}
.verdict{display:flex;gap:.8rem;align-items:baseline;margin:1rem 0;padding:.9rem 1.1rem;max-width:none;font-size:1.1rem;
font-weight:600;border:1px solid var(--line);border-left-width:6px;border-radius:6px}
.verdict .mark{font-size:1.2rem}
.violated{background:var(--bad-fill);border-color:var(--bad)}.violated .mark,.flag{color:var(--bad)}
.clean{background:var(--good-fill);border-color:var(--good)}.clean .mark{color:var(--good)}
.open{background:var(--open-fill);border-color:var(--quiet)}.open .mark{color:var(--quiet)}
.flag{font-weight:650;white-space:nowrap}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;padding:0;margin:1rem 0 0}
.scroll{overflow-x:auto;margin:.5rem 0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.925rem}
caption{text-align:left;padding:0 0 .4rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--soft)}
thead th{color:var(--quiet);font-weight:600;border-bottom:1px solid var(--line);vertical-align:bottom}
tbody th{font-weight:500}
.n{text-align:right;white-space:nowrap}
.facts th{color:var(--quiet);font-weight:500;padding-right:1.5rem}
.stack td:first-child{min-width:8.5rem}.stack td:last-child{min-width:14rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:1rem;margin:1rem 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.8rem .9rem;min-width:0;margin:0;
break-inside:avoid}
.card.hit{border-left:5px solid var(--bad)}
.card h3{margin:0;overflow-wrap:anywhere}.card p{margin:.1rem 0 .5rem}.card .flag{white-space:normal}
.card table{font-size:.78rem;width:100%}.card td,.card th{padding:.15rem .35rem .15rem 0}
.card td:last-child,.card th:last-child{padding-right:0}
.bars{max-width:46rem;width:100%}.bars th{font-weight:400;overflow-wrap:anywhere;border:0}.bars td{border:0}
.bars .bar{width:40%}.bars svg{height:20px}.bars thead .n{width:4.5rem}.card .bars thead .n{width:3.6rem}
.bars tr+tr th,.bars tr+tr td{padding-top:.3rem}
svg{display:block;width:100%;height:auto}svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
fill:var(--quiet)}
.axis{stroke:var(--line);stroke-width:1;fill:none}.guide{stroke:var(--quiet);stroke-width:1;stroke-dasharray:3 4;
fill:none}
.b-area{fill:var(--baseline-fill);stroke:var(--baseline);stroke-width:1.25;stroke-linejoin:round}
.b-line{fill:none;stroke:var(--baseline);stroke-width:1.75;stroke-dasharray:6 3;stroke-linejoin:round}
.l-line{fill:none;stroke:var(--live);stroke-width:2;stroke-linejoin:round}
.b-bar,.l-bar{vector-effect:non-scaling-stroke}.b-bar{fill:var(--baseline-fill);stroke:var(--baseline);stroke-width:1}.l-bar{fill:var(--live)}
.l-dot{fill:var(--live);stroke:var(--page);stroke-width:1}.l-range{stroke:var(--live);stroke-width:1.25}
.key{display:inline-flex;gap:.4rem;align-items:center;margin-right:1.2rem}.key svg{width:28px;flex:none}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:1rem;margin:1rem 0}
figure{margin:0}figcaption{margin-top:.3rem}
.right{font-weight:650}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
footer{margin-top:3rem;padding-top:.75rem;border-top:1px solid var(--line);color:var(--quiet);font-size:.875rem}
@media (max-width:30rem){body{padding:1rem .8rem 3rem;font-size:15px}.stack thead{position:absolute;width:1px;
height:1px;overflow:hidden;clip-path:inset(50%)}.stack,.stack tbody,.stack tr,.stack td,.stack th{
display:block;width:auto}.stack tr{padding:.5rem 0;border-bottom:1px solid var(--soft)}
.stack td,.stack th{border:0;padding:.1rem 0}.stack td:last-child{min-width:0}
.stack caption{display:block}.stack td.n{text-align:left}.stack td:nth-child(2){font-weight:600}}
@media print{:root{--page:#fff;--card:#fff;--line:#bbb;--soft:#ddd;--text:#000;--quiet:#444;--baseline:#0b63a5;
--baseline-fill:#cfe2f2;--live:#b84a00;--bad:#a3121f;--bad-fill:#fff;--good:#1c6b3a;--good-fill:#fff;--open-fill:#fff;
--link:#000}body{max-width:none;padding:0;font-size:11pt}nav{display:none}*{print-color-adjust:exact;
-webkit-print-color-adjust:exact}.scroll{overflow:visible}tr,figure{break-inside:avoid}}
""".strip().replace("\n", "")
