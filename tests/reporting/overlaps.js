// How many labels and buttons are shown, and the texts of those that overlap.
const apart = '.legend li, .switch button, .controls button, .controls label, .controls output';
const boxes = [...document.querySelectorAll(apart)]
  .filter(element => element.getClientRects().length).map(element => [element, element.getBoundingClientRect()]);
const found = [];
boxes.forEach(([one, a], place) => boxes.slice(place + 1).forEach(([two, b]) => {
  if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) {
    found.push([one.textContent, two.textContent]);
  }
}));
return [boxes.length, found];
