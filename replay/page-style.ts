/** The style sheet of report pages: light, wide enough for two charts, readable on paper and on a phone. */
export const pageStyle = `
:root { color-scheme: light; --ink: #1f2933; --soft: #47525e; --line: #d7dce1; --tint: #f5f7fa; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 21px; line-height: 1.3; margin: 44px 0 12px; padding-top: 14px; border-top: 1px solid var(--line); }
p { max-width: 76ch; margin: 0 0 14px; }
.summary { font-size: 18px; color: var(--soft); }
a { color: var(--accent); }
nav ol { margin: 20px 0 0; padding: 12px 16px 12px 38px; background: var(--tint); border-radius: 8px; columns: 2; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; margin: 0 0 18px; }
.figures div { background: var(--tint); border-radius: 8px; padding: 12px 14px; }
.figures dt { font-size: 14px; color: var(--soft); }
.figures dd { margin: 2px 0 0; font-size: 25px; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.figures dd.hint { font-size: 13px; font-weight: 400; color: var(--soft); line-height: 1.4; }
.note { max-width: none; padding: 11px 15px; border-left: 5px solid var(--soft); background: var(--tint); border-radius: 0 8px 8px 0; }
.note.good { border-color: #009e73; background: #eef8f4; }
.note.bad { border-color: #d55e00; background: #fdf2ea; }
/* A shadow stands at an edge behind which there is more: the white covers move with the content, the shadows do not. */
.scroll { overflow-x: auto; margin: 0 0 18px; background: linear-gradient(to right, #fff 40%, transparent) 0 0 / 48px 100% no-repeat local, linear-gradient(to left, #fff 40%, transparent) 100% 0 / 48px 100% no-repeat local, linear-gradient(to right, rgb(31 41 51 / 0.35), transparent) 0 0 / 16px 100% no-repeat scroll, linear-gradient(to left, rgb(31 41 51 / 0.35), transparent) 100% 0 / 16px 100% no-repeat scroll; }
figure .scroll { margin: 0; }
table { border-collapse: collapse; font-size: 15px; min-width: 50%; }
caption { text-align: left; font-weight: 600; padding: 4px 0 6px; }
th, td { text-align: left; vertical-align: top; padding: 6px 14px 6px 8px; border-bottom: 1px solid var(--line); }
th { font-size: 14px; color: var(--soft); border-bottom: 2px solid var(--line); white-space: nowrap; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(584px, 100%), 1fr)); gap: 18px; margin: 0 0 18px; }
figure { margin: 0; min-width: 0; border: 1px solid var(--line); border-radius: 8px; padding: 10px; break-inside: avoid; }
/* Drawn at its own size, so that all charts have one size of text. */
figure svg { display: block; margin: 0 auto; }
.wide { margin: 0 0 18px; }
td.codes, .lines td { white-space: nowrap; }
figcaption { font-size: 14px; color: var(--soft); padding: 8px 6px 2px; }
pre { background: var(--tint); padding: 12px 14px; border-radius: 8px; overflow-x: auto; font-size: 14px; line-height: 1.45; }
footer { margin-top: 48px; padding-top: 12px; border-top: 1px solid var(--line); font-size: 13px; color: var(--soft); }
@media (max-width: 1120px) { .wide figure::before { content: "Wider than the page: scroll sideways \\2192"; font-size: 14px; color: var(--soft); } }
@media (max-width: 640px) { main { padding: 20px 14px 40px; } nav ol { columns: 1; } h1 { font-size: 25px; } th, td { white-space: nowrap; } figure { padding: 6px; } }
@media print { figure svg { max-width: 100%; height: auto; } main { max-width: none; padding: 0; } .figures div, .note, pre { border: 1px solid var(--line); } }
`
