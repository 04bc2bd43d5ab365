"""The look of the report: one light style sheet, no scripts, no fonts from elsewhere."""

STYLE = """
:root { --ink:#1d2430; --muted:#6b7480; --line:#e3e6ea; --paper:#ffffff; --tint:#f6f7f9;
        --good:#1f7a4d; --bad:#b3323f; --accent:#2a5f8f; }
* { box-sizing:border-box; }
html { background:var(--tint); }
body { margin:0 auto; max-width:1120px; padding:56px 48px 72px; background:var(--paper); color:var(--ink);
       font:16px/1.55 "Inter","Segoe UI",system-ui,-apple-system,"Helvetica Neue",
       "Liberation Sans",Arial,sans-serif;
       font-variant-numeric:tabular-nums; }
header { border-bottom:3px solid var(--ink); padding-bottom:20px; margin-bottom:28px; }
h1 { font-size:34px; line-height:1.15; letter-spacing:-.02em; margin:0 0 6px; }
h2 { font-size:21px; letter-spacing:-.01em; margin:52px 0 6px; }
h3 { font-size:16px; margin:28px 0 6px; }
p { margin:6px 0 12px; max-width:76ch; }
.lead, .note, figcaption { color:var(--muted); }
.note, figcaption { font-size:14px; }
.facts { display:flex; flex-wrap:wrap; gap:10px 36px; margin:0; padding:0; list-style:none; }
.facts b { display:block; font-size:12px; font-weight:600; letter-spacing:.06em; text-transform:uppercase;
           color:var(--muted); }
.verdict { font-size:19px; margin:22px 0 0; }
.verdict strong { font-size:26px; letter-spacing:-.01em; }
table { border-collapse:collapse; width:100%; margin:10px 0 6px; font-size:15px; }
th, td { padding:7px 12px 7px 0; border-bottom:1px solid var(--line); text-align:left;
         vertical-align:baseline; }
thead th { font-size:12px; letter-spacing:.06em; text-transform:uppercase; color:var(--muted);
           border-bottom:1.5px solid var(--ink); }
tbody th { font-weight:500; }
td.number, th.number { text-align:right; white-space:nowrap; padding-right:22px; }
td.number + td.number { padding-left:8px; }
td.mark { width:9.5em; white-space:nowrap; }
tr.group th { padding-top:18px; font-weight:700; }
tr.better td { font-weight:600; }
.ok { color:var(--good); font-weight:600; }
.miss { color:var(--bad); font-weight:600; }
.unknown { color:var(--muted); }
tr.missed td, tr.missed th { background:#fdf4f4; }
.scroll { overflow-x:auto; }
figure { margin:16px 0 26px; }
figure img, video { display:block; width:100%; height:auto; border-radius:4px; }
figure.strip img { border:1px solid var(--line); }
.zoom { display:block; overflow-x:auto; cursor:zoom-in; }
.zoom input { position:absolute; opacity:0; pointer-events:none; }
.zoom input:checked + img { width:auto; max-width:none; cursor:zoom-out; }
.zoom input:focus-visible + img { outline:2px solid var(--accent); }
video { background:#0f1319; }
.videos { display:grid; gap:20px; grid-template-columns:repeat(auto-fit,minmax(420px,1fr)); }
.videos figure { margin:10px 0; }
figcaption { margin-top:8px; }
dl { display:grid; grid-template-columns:11em 1fr; gap:4px 20px; font-size:14px; color:var(--muted); }
dt { color:var(--ink); font-weight:600; }
dd { margin:0; }
details { margin-top:18px; }
summary { cursor:pointer; color:var(--accent); }
pre { background:var(--tint); padding:16px; overflow:auto; max-height:520px; font-size:12.5px;
      line-height:1.45; }
footer { margin-top:56px; padding-top:14px; border-top:1px solid var(--line); color:var(--muted);
         font-size:13px; }
@media (max-width:700px) { body { padding:28px 18px; } table { font-size:13px; } td.mark { width:auto; }
                           td.number, th.number { padding-right:10px; } .videos { grid-template-columns:1fr; }
                           dl { grid-template-columns:1fr; } }
@media print { html { background:#fff; } body { padding:0; } video { display:none; } }
"""
