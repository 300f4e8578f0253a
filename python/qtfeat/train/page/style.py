"""The look of the report: light, and the same on paper."""

CSS = """
:root{--ink:#1b1f24;--soft:#5a626c;--line:#dfe3e8;--good:#1a6b3c;--bad:#a3261b;--mid:#8a5a00}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
main{max-width:1220px;margin:0 auto;padding:28px 30px 48px}
h1{font-size:26px;margin:0 0 2px}h2{font-size:18px;margin:34px 0 8px;
border-bottom:1px solid var(--line);padding-bottom:4px}
h3{font-size:14px;margin:0 0 4px}p{margin:4px 0}.soft{color:var(--soft)}
.verdict{border-left:6px solid;padding:10px 16px;margin:16px 0;background:#f7f8fa}
.verdict b{font-size:19px}.verdict ul{margin:4px 0 0;padding-left:18px}
.production{border-color:var(--good)}.rejected{border-color:var(--bad)}.shadow,.none{border-color:var(--mid)}
.production b{color:var(--good)}.rejected b{color:var(--bad)}.shadow b,.none b{color:var(--mid)}
.tiles{display:grid;grid-template-columns:repeat(6,1fr);gap:12px;margin:14px 0}
.tile{border:1px solid var(--line);border-radius:6px;padding:9px 12px}
.tile strong{display:block;font-size:22px;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:12.5px;display:block}
.charts{display:grid;grid-template-columns:1fr 1fr;gap:20px 26px}figure{margin:0;break-inside:avoid}
figcaption{font-size:12.5px;color:var(--soft)}svg{width:100%;height:auto;display:block}
svg text{font:12px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#454c55}
.wide{overflow-x:auto}
table{margin:6px 0;border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 8px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{white-space:normal;font-weight:600;color:var(--soft);vertical-align:bottom}th:first-child,td:first-child{text-align:left}
td.text,th.text{text-align:left;white-space:normal}tr.first td{font-weight:600;background:#f2f6fb}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
pre{font-size:12px;white-space:pre-wrap;overflow-wrap:anywhere;background:#f7f8fa;padding:10px 12px;margin:6px 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;font-size:13px;margin:6px 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media screen and (max-width:800px){.charts{grid-template-columns:1fr}.tiles{grid-template-columns:repeat(2,1fr)}}
@media print{@page{size:A4;margin:13mm}body{font-size:10.5px}main{max-width:none;padding:0}
h1{font-size:19px}h2{font-size:14px;margin:16px 0 5px;break-after:avoid}h3{break-after:avoid;font-size:11px}
table{font-size:8px}th,td{padding:1.5px 3px}
.tile strong{font-size:14px}.tile span,figcaption,dl{font-size:9px}.tiles{gap:6px}.tile{padding:5px 7px}
pre{font-size:8px}.charts{gap:10px 14px}.verdict{margin:8px 0}
.wide{overflow:visible}
tr,.tile,.verdict,dt,dd{break-inside:avoid}thead{display:table-header-group}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
