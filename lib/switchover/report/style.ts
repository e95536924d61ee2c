/** Of report.html. Both schemes, paper, and no colour that says something alone. */
export const style = `
:root{color-scheme:light dark;--bg:#fff;--card:#f6f8fa;--fg:#1f2328;--muted:#57606a;--line:#d0d7de;--accent:#0a5bc4;--soft:#ddebff;
--ok:#116329;--ok-soft:#dafbe1;--bad:#a40e26;--bad-soft:#ffebe9;--warn:#7a4b00;--warn-soft:#fff4d6;
--stop:#57606a;--detach:#8a5a00;--attach:#0a5bc4;--start:#116329;--renew:#6f3cc3;--forecast:#7a4b00}
@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--card:#161b22;--fg:#e6edf3;--muted:#9da7b3;--line:#30363d;--accent:#79b8ff;--soft:#12294a;
--ok:#7ee787;--ok-soft:#0f2a19;--bad:#ffa198;--bad-soft:#3b1215;--warn:#e3b341;--warn-soft:#2e2308;
--stop:#9da7b3;--detach:#d29922;--attach:#58a6ff;--start:#56d364;--renew:#bc8cff;--forecast:#e3b341}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
a{color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
.skip{position:absolute;left:-999px}.skip:focus{left:8px;top:8px;background:var(--bg);padding:6px 10px;z-index:1}
header,main,footer{max-width:1080px;margin:0 auto;padding:0 24px}
header{padding-top:28px}
h1{font-size:30px;line-height:1.2;margin:2px 0 16px}
h2{font-size:20px;margin:40px 0 12px;padding-top:8px;border-top:1px solid var(--line)}
h3{font-size:16px;margin:24px 0 8px}
.eyebrow,.muted{color:var(--muted)}
p{margin:8px 0}
.verdict{display:flex;gap:14px;align-items:flex-start;padding:14px 18px;border-radius:8px;border:1px solid;font-size:17px}
.verdict .sign{font-size:22px;line-height:1.2}
.verdict strong{display:block}
.ok{background:var(--ok-soft);color:var(--ok)}.bad{background:var(--bad-soft);color:var(--bad)}.warn{background:var(--warn-soft);color:var(--warn)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:12px;margin:16px 0;padding:0}
.figures div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.figures dt{color:var(--muted);font-size:13px}.figures dd{margin:0}
.figures .number{font-size:26px;font-weight:650;line-height:1.3}
.notice{border:1px solid;border-radius:8px;padding:4px 18px 10px;margin:14px 0}
.notice h2{border:0;margin:8px 0 0;padding:0;font-size:17px}
ul{margin:6px 0;padding-left:22px}
nav ul{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;padding:0;margin:18px 0 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
caption{text-align:left;color:var(--muted);padding:4px 0;font-size:13px}
th,td{text-align:left;vertical-align:top;padding:5px 10px 5px 0;border-bottom:1px solid var(--line)}
thead th{color:var(--muted);font-weight:600;font-size:13px}
tbody th{font-weight:600}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
pre{white-space:pre-wrap;margin:4px 0}
code,pre,.mono{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.held tbody th,.held td:nth-child(n+4){white-space:nowrap}
.sites{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:20px}
details{border:1px solid var(--line);border-radius:6px;margin:6px 0;padding:0 12px}
details>summary{cursor:pointer;padding:8px 0;margin:0}
details>summary .muted{font-weight:400}
details[open]{padding-bottom:8px}
.tools{display:flex;flex-wrap:wrap;gap:10px;align-items:center;margin:10px 0}
.tools[hidden]{display:none}
.tools input,.tools button{font:inherit;color:inherit;background:var(--card);border:1px solid var(--muted);border-radius:6px;padding:5px 10px}
.tools input{min-width:min(320px,100%)}
svg{display:block;width:100%;height:auto;margin:6px 0 14px}
svg text{fill:var(--fg);font-size:14px}
svg .small{font-size:12.5px}svg .strong{font-weight:650}svg .muted{fill:var(--muted)}svg .middle{text-anchor:middle}
svg .site{fill:var(--card);stroke:var(--line)}svg .active{fill:var(--ok-soft);stroke:var(--ok);stroke-width:2.5}
svg .arrow{stroke:var(--fg);stroke-width:2}svg .broken{stroke-dasharray:5 5;stroke:var(--bad)}svg .head{fill:var(--fg)}svg .cross{fill:var(--bad)}
svg .grid{stroke:var(--line)}svg .base{stroke:var(--muted)}
svg .bar{fill:var(--accent)}svg .unfinished{fill:var(--bad-soft);stroke:var(--bad);stroke-dasharray:3 2}
svg .forecast{fill:var(--forecast);opacity:.75}svg .outage{fill:var(--warn-soft)}
svg .break{fill:var(--card);stroke:var(--muted);stroke-dasharray:2 3}
svg .waiting{stroke:var(--muted);stroke-width:1.5}svg .half{stroke:var(--fg);stroke-width:2}
svg .area{fill:var(--soft);stroke:var(--accent)}
svg .work{stroke:var(--bg);stroke-width:.5}
svg .stop{fill:var(--stop)}svg .detach{fill:url(#hatch)}svg .attach{fill:var(--attach)}svg .start{fill:url(#dots)}svg .renew{fill:var(--renew)}
svg .fill-detach{fill:var(--detach)}svg .fill-start{fill:var(--start)}svg .stripe{stroke:var(--bg);stroke-width:2}svg .dot{fill:var(--bg)}
.key{font-size:13px;color:var(--muted)}
footer{padding:30px 24px;color:var(--muted);font-size:13px}
@media (max-width:640px){header,main{padding-left:14px;padding-right:14px}svg{min-width:620px}.sites svg{min-width:0}}
@page{size:A4;margin:14mm}
@media print{
:root{color-scheme:light;--bg:#fff;--card:#f6f8fa;--fg:#000;--muted:#484f58;--line:#c4ccd4;--accent:#0a5bc4;--soft:#ddebff;
--ok:#116329;--ok-soft:#eafbee;--bad:#a40e26;--bad-soft:#fff1f0;--warn:#7a4b00;--warn-soft:#fff8e4;
--stop:#57606a;--detach:#8a5a00;--attach:#0a5bc4;--start:#116329;--renew:#6f3cc3;--forecast:#7a4b00}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{font-size:11px}h1{font-size:22px}h2{font-size:15px;margin-top:22px}table{font-size:10px}code,.mono{font-size:9px}
caption,thead th,.figures dt,.key,footer{font-size:9.5px}.notice h2{font-size:12px}h3{font-size:12px}
header,main,footer{max-width:none;padding-left:0;padding-right:0}
nav,.tools,.skip{display:none!important}
.scroll{overflow:visible}
h2,h3,summary{break-after:avoid}tr,svg,.verdict,.figures,.notice{break-inside:avoid}
.figures{grid-template-columns:repeat(4,1fr)}.figures .number{font-size:17px}.verdict{font-size:13px}
.sites{grid-template-columns:1fr 1fr}
thead{display:table-header-group}
}`.trim();

/** The report is read without it: it only filters, and opens or closes what is collapsed. */
export const script = `
const tools=document.querySelector(".tools");
if(tools){
tools.hidden=false;
const all=[...document.querySelectorAll("details.instance")],said=document.querySelector("#shown"),search=document.querySelector("#filter");
const texts=new Map();
const textOf=(d)=>{if(!texts.has(d))texts.set(d,d.textContent.toLowerCase());return texts.get(d)};
search.addEventListener("input",()=>{const words=search.value.toLowerCase().split(/\\s+/).filter(Boolean);let n=0;
for(const d of all){const fits=words.every((w)=>textOf(d).includes(w));d.hidden=!fits;if(fits)n++}
said.textContent=n+" of "+all.length+" shown"});
for(const [id,open] of [["open-all",true],["close-all",false]])
document.getElementById(id).addEventListener("click",()=>{for(const d of all)if(!d.hidden)d.open=open});
}`.trim();
