"""How the report of `bnlab lesson` looks, light and dark, wide and narrow; and that it may load nothing."""

#: The browser itself then refuses whatever would come from elsewhere.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #c8c8c8; --soft: #f3f3f3; --link: #0b57a4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #161616; --line: #4a4a4a; --soft: #222; --link: #8ab8ee; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif;
       color: var(--ink); background: var(--paper); }
a { color: var(--link); }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; }
section section { border-top: 1px solid var(--line); margin-top: 2rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
.wide:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .25rem .6rem; text-align: right; vertical-align: top; }
td { white-space: nowrap; }
thead th { border-bottom: 2px solid var(--line); vertical-align: bottom; }
tbody { border-bottom: 1px solid var(--line); }
tbody th { text-align: left; font-weight: 500; }
thead .name { text-align: left; }
@media (max-width: 40rem) { table { font-size: .85rem; } th, td { padding: .2rem .35rem; } }
img { display: block; width: 100%; max-width: 44rem; height: auto; background: #fff; border-radius: 4px; }
figure { margin: 1rem 0; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); gap: .2rem 1.5rem; }
dt { font-size: .85rem; opacity: .8; }
dd { margin: 0; overflow-wrap: anywhere; }
.warning { border-left: 4px solid #d08700; background: var(--soft); padding: .4rem .8rem; }
.failure { border-left: 4px solid #c62828; background: var(--soft); padding: .4rem .8rem; }
"""
