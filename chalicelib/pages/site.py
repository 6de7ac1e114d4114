"""What all pages of the site share: the frame, the links, the style, the script and the policy that allows these two.

Every page is whole without the script, which only searches and sorts tables that are there. Not here: what a page says.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence

import msgspec

from chalicelib.evidence.assessment import Level
from chalicelib.pages.markup import Markup, element, joined, sentence
from chalicelib.pages.style import STYLE

# What a state looks like, with a mark that has its own shape for each, and a word.
LOOKS: dict[Level, tuple[str, str, str]] = {
    "worse": ("violated", "▲", "Worse"),
    "drift": ("violated", "◆", "Drift"),
    "notice": ("open", "○", "Unconfirmed"),
    "unknown": ("open", "·", "Not known"),
    "fine": ("clean", "✓", "All right"),
}

_SITE_STYLE = """
.trail{display:flex;flex-wrap:wrap;gap:.4rem;font-size:.925rem;margin:0 0 1rem;padding:0;list-style:none}
.trail li+li:before{content:"/";margin-right:.4rem;color:var(--quiet)}
.wide{overflow-x:auto;margin:.5rem 0 1rem}.wide svg{min-width:40rem}
.state{white-space:nowrap;font-weight:600}.state.violated,.state.clean,.state.open{background:none}
.state.violated{color:var(--bad)}.state.clean{color:var(--good)}.state.open{color:var(--quiet)}
.find{display:flex;gap:.6rem;align-items:center;margin:1rem 0}.find[hidden]{display:none}
input{font:inherit;color:inherit;background:var(--card);border:1px solid var(--quiet);border-radius:4px;
padding:.3rem .5rem;min-width:0;width:22rem;max-width:100%}
thead button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-align:inherit}
thead button:after{content:" ↕";color:var(--quiet)}th[aria-sort=ascending] button:after{content:" ↑"}
th[aria-sort=descending] button:after{content:" ↓"}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.band{fill:var(--live);fill-opacity:.16;stroke:none}.cover{fill:var(--baseline)}.later{fill:var(--page);stroke:var(--live);
stroke-width:1.5}.bad-dot{fill:var(--bad);stroke:var(--page);stroke-width:1}.mark-line{stroke:var(--quiet);stroke-width:1;
stroke-dasharray:2 3}svg .mark-name{fill:var(--text);font-weight:650}
.h1{fill:var(--live);fill-opacity:.25}.h2{fill:var(--live);fill-opacity:.5}.h3{fill:var(--live);fill-opacity:.75}
.h4{fill:var(--live)}.h0{fill:none;stroke:var(--live);stroke-width:1}.row-line{stroke:var(--soft);stroke-width:1}
svg .row-name{fill:var(--text)}
.why{margin:.2rem 0 1rem;padding-left:1.2rem}
.fleet{width:100%}.fleet td:last-child{min-width:0}.fleet tbody th,.fleet td:nth-child(6){white-space:nowrap}
@media (max-width:30rem){td[data-head]:before{content:attr(data-head) ": ";color:var(--quiet);font-weight:400}}
code{font-size:.9em;overflow-wrap:anywhere}
""".strip().replace("\n", "")

_SCRIPT = """
(function(){
function text(row,place){var cell=row.cells[place];return cell.getAttribute("data-sort")||cell.textContent}
document.querySelectorAll("table[data-sortable]").forEach(function(table){
var heads=table.tHead.rows[0].cells;
Array.prototype.forEach.call(heads,function(head,place){
var button=document.createElement("button");button.type="button";button.textContent=head.textContent;
head.textContent="";head.appendChild(button);
button.addEventListener("click",function(){
var down=head.getAttribute("aria-sort")==="ascending";
Array.prototype.forEach.call(heads,function(other){other.removeAttribute("aria-sort")});
head.setAttribute("aria-sort",down?"descending":"ascending");
var rows=Array.prototype.slice.call(table.tBodies[0].rows);
rows.sort(function(one,two){var a=text(one,place),b=text(two,place),x=parseFloat(a),y=parseFloat(b);
var order=isNaN(x)||isNaN(y)?a.localeCompare(b):x-y;return down?-order:order});
rows.forEach(function(row){table.tBodies[0].appendChild(row)})})})});
var find=document.querySelector(".find");if(!find)return;
var box=find.querySelector("input"),said=find.querySelector("output");
var rows=Array.prototype.slice.call(document.querySelectorAll("table[data-sortable] tbody tr"));
find.hidden=false;
box.addEventListener("input",function(){
var wanted=box.value.toLowerCase(),shown=0;
rows.forEach(function(row){var hit=row.textContent.toLowerCase().indexOf(wanted)>=0;row.hidden=!hit;if(hit)shown++});
said.textContent=wanted?shown+" of "+rows.length:""})
})()
""".strip()


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


_CSS = STYLE + _SITE_STYLE
POLICY = (
    f"default-src 'none'; style-src {_hash(_CSS)}; script-src {_hash(_SCRIPT)}; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
"""What a browser may load for a page: its own style and script, and nothing from anywhere."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
# Without it a browser asks for /favicon.ico, which does not exist.
_ICON = "data:,"


class Links(msgspec.Struct, frozen=True):
    """Where the pages are. `base` stands before every path; `ending` and `home` are those of files, or ""."""

    base: str = ""
    ending: str = ""
    home: str = "/"

    def json_of(self, address: str) -> str:
        """The address of a page's JSON; "" among files, where there is none."""
        if self.ending:
            return ""
        return f"{self.base}/fleet.json" if address == self.fleet() else f"{address}.json"

    def fleet(self) -> str:
        return f"{self.base}{self.home}"

    def monitor(self, monitor: str) -> str:
        return f"{self.base}/monitors/{monitor}{self.ending}"

    def window(self, monitor: str, window: str) -> str:
        # A colon cannot be in a file's name everywhere.
        return f"{self.base}/monitors/{monitor}/windows/{window.replace(':', '')}{self.ending}"

    def decision(self, decision_id: str) -> str:
        return f"{self.base}/decisions/{decision_id}{self.ending}"


def page(title: str, trail: Markup, *content: str | Markup, as_json: str = "") -> bytes:
    """A whole page as UTF-8 HTML. `trail`: where it is in the site; `as_json`: the address of the same as JSON."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        Markup(f'<link rel="icon" href="{_ICON}">'),
        element("title", title),
        element("style", Markup(_CSS)),
    )
    same = element("a", "The same as JSON", href=as_json) if as_json else joined()
    body = element(
        "body",
        element("nav", element("ol", trail, class_="trail"), aria_label="Where this is"),
        element("main", *content),
        element("footer", "Made by Plumbline from the facts in its table. Times are UTC. ", same),
        element("script", Markup(_SCRIPT)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n".encode()


def trail(*steps: tuple[str, str]) -> Markup:
    """Links to the pages above this one, and its own name at the end (without an address)."""
    return joined(
        [
            element("li", element("a", name, href=address) if address else element("span", name, aria_current="page"))
            for name, address in steps
        ]
    )


def banner(level: Level, words: str) -> Markup:
    """The one sentence on top."""
    look, mark, _ = LOOKS[level]
    sign = element("span", mark, class_="mark", aria_hidden="true")
    return element("p", sign, element("span", spoken(words)), class_=f"verdict {look}")


def state(level: Level) -> Markup:
    look, mark, word = LOOKS[level]
    return element("span", f"{mark} {word}", class_=f"state {look}")


def table_of(
    heads: Sequence[str], rows: Sequence[Sequence[str | Markup]], numbers: Sequence[int] = (), caption: str = ""
) -> Markup:
    """A table that stacks on a narrow screen; `numbers` are the places of columns of numbers."""
    body = [
        element(
            "tr",
            [
                element("td", cell, class_="n" if place in numbers else None, data_head=heads[place])
                for place, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    top = [
        element("th", head, scope="col", class_="n" if place in numbers else None) for place, head in enumerate(heads)
    ]
    named = [element("caption", caption)] if caption else []
    inside = element("table", named, element("thead", element("tr", top)), element("tbody", body), class_="stack")
    return element("div", inside, class_="scroll")


def facts_of(facts: Sequence[tuple[str, str]]) -> Markup:
    """A table of names and what they are."""
    rows = [element("tr", element("th", name, scope="row"), element("td", sentence(value))) for name, value in facts]
    return element("table", element("tbody", rows), class_="facts")


def spoken(words: str) -> str:
    """A sentence with its times as people write them."""
    return _TIME.sub(lambda found: moment(found[0]), words)


def moment(name: str) -> str:
    """2026-01-05T03:00:00Z for people: 2026-01-05 03:00."""
    return name.removesuffix("Z").removesuffix(":00").replace("T", " ")
