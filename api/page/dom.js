// Small words for the document: find, make, fill. Text is always text, so nothing in an answer can become an element.

export const find = (id) => document.getElementById(id);

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (key === "class") element.className = value;
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

// Changes text only where it differs, so that nothing is read aloud again.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

// Says something above the page, until it is closed or there is something else to say.
export function notice(text) {
  const box = document.getElementById("notice");
  box.hidden = !text;
  fill(box, text, make("button", { type: "button", on: { click: () => notice("") } }, "Close"));
}

export function announce(text) {
  find("announcements").textContent = text;
}
