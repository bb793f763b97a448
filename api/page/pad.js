// The pad: strokes by pointer or by keys, as lists of points, drawn white on black.

const PEN = 20;
const STEP = 7;
const MARGIN = 280; // a stroke may leave the pad, and come back
const MOST_POINTS = 1200; // in a link; more is drawn, but not kept there

export class Pad {
  // `changed` is called after each stroke.
  constructor(canvas, cursor, changed) {
    Object.assign(this, { canvas, cursor, changed, strokes: [], picture: null });
    this.at = { x: 140, y: 60, down: false };
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#go(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#end(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.#place(canvas.matches(":focus-visible")));
    canvas.addEventListener("blur", () => (this.at.down ? (this.at.down = false) : null, (cursor.hidden = true)));
    this.draw();
  }

  get isEmpty() {
    return !this.strokes.length && !this.picture;
  }

  clear() {
    this.pointer = null;
    this.strokes = [];
    this.picture = null;
    this.at.down = false;
    this.draw();
  }

  // Shows a picture in place of strokes.
  show(picture) {
    this.clear();
    this.picture = picture;
    this.draw();
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    context.fillStyle = this.picture?.width > 28 ? "#777" : "#000"; // ink of any colour is seen on it
    context.fillRect(0, 0, width, height);
    if (this.picture) {
      const scale = Math.min(width / this.picture.width, height / this.picture.height);
      const [w, h] = [this.picture.width * scale, this.picture.height * scale];
      context.imageSmoothingEnabled = this.picture.width > 28;
      context.drawImage(this.picture, (width - w) / 2, (height - h) / 2, w, h);
    }
    Object.assign(context, { lineCap: "round", lineJoin: "round", lineWidth: PEN, strokeStyle: "#fff", fillStyle: "#fff" });
    for (const stroke of this.strokes) {
      context.beginPath();
      context.moveTo(...stroke[0]);
      for (const point of stroke.slice(1)) context.lineTo(...point);
      if (stroke.length === 1) context.lineTo(stroke[0][0] + 0.1, stroke[0][1]);
      context.stroke();
    }
  }

  // ------------------------------------------------------------------------------------------------- pointer

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    const inside = (at) => Math.max(-MARGIN, Math.min(this.canvas.width + MARGIN, Math.round(at * scale)));
    return [inside(event.clientX - box.left), inside(event.clientY - box.top)];
  }

  #begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.cursor.hidden = true;
    this.canvas.setPointerCapture(event.pointerId);
    this.picture = null;
    this.pointer = event.pointerId;
    this.strokes.push([this.#point(event)]);
    this.draw();
  }

  #go(event) {
    if (event.pointerId !== this.pointer) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) this.#add(this.#point(each));
    this.draw();
  }

  #add(point) {
    const stroke = this.strokes.at(-1);
    const [x, y] = stroke.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) >= 2) stroke.push(point);
  }

  #end(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    this.changed();
  }

  // --------------------------------------------------------------------------------------------------- keys

  #key(event) {
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    if (event.key in moves) this.#move(moves[event.key]);
    else if (event.key === " ") this.#lift();
    else if (["Delete", "Backspace", "Escape"].includes(event.key)) {
      this.clear();
      this.changed();
    } else return;
    event.preventDefault();
    this.#place(true);
  }

  #move([dx, dy]) {
    const inside = (at) => Math.max(0, Math.min(this.canvas.width, at));
    Object.assign(this.at, { x: inside(this.at.x + dx), y: inside(this.at.y + dy) });
    if (!this.at.down) return;
    this.strokes.at(-1).push([this.at.x, this.at.y]);
    this.draw();
  }

  #lift() {
    this.at.down = !this.at.down;
    if (this.at.down) {
      this.picture = null;
      this.strokes.push([[this.at.x, this.at.y]]);
      this.draw();
    } else this.changed();
  }

  #place(visible) {
    this.cursor.hidden = !visible;
    this.cursor.style.left = `${(100 * this.at.x) / this.canvas.width}%`;
    this.cursor.style.top = `${(100 * this.at.y) / this.canvas.height}%`;
    this.cursor.dataset.pen = this.at.down ? "down" : "up";
  }

  // ----------------------------------------------------------------------------------------------- as a link

  asText() {
    const points = this.strokes.flat().length;
    return points && points <= MOST_POINTS ? this.strokes.map((stroke) => stroke.flat().map((n) => (n + MARGIN).toString(36)).join("-")).join("_") : "";
  }

  // Draws what a link says; returns whether it could be read.
  fromText(text) {
    const strokes = text.split("_").map((part) => part.split("-").map((n) => parseInt(n, 36) - MARGIN));
    const right = strokes.every((flat) => flat.length >= 2 && flat.length % 2 === 0 && flat.every((n) => n >= -MARGIN && n <= 280 + MARGIN));
    if (!right) return false;
    this.picture = null;
    this.strokes = strokes.map((flat) => Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]));
    this.draw();
    return true;
  }

  asPicture() {
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }
}
