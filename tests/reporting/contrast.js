// The contrast of each shown text with what is behind it, as WCAG 2 reckons it; with its element and its words.
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[\d.]+/g).slice(0, 3).map(Number).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const { backgroundColor } = getComputedStyle(element);
    if (!/, 0\)$/.test(backgroundColor)) return backgroundColor;
  }
  return 'rgb(255, 255, 255)';
};
return [...document.querySelectorAll('p, li, td, th, summary, button, mark, h1, h2, h3, select, output, .gain')]
  .filter(element => element.innerText && element.innerText.trim() && element.getClientRects().length)
  .map(element => {
    const pair = [luminance(getComputedStyle(element).color), luminance(behind(element))].sort((a, b) => b - a);
    const named = element.tagName + '.' + element.className;
    return [(pair[0] + 0.05) / (pair[1] + 0.05), named, element.innerText.slice(0, 40)];
  });
