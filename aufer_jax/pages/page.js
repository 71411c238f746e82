// Tables that sort by a click, and pages that grow while a run trains. Everything is readable without.
const number = (cell) => parseFloat(cell.textContent);
function sortable(root) {
  for (const head of root.querySelectorAll(".sortable thead th")) {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.onclick = () => {
      const body = head.closest("table").tBodies[0], place = head.cellIndex;
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => {
        const [x, y] = [number(a.cells[place]), number(b.cells[place])];
        const by = isNaN(x) || isNaN(y) ? a.cells[place].textContent.localeCompare(b.cells[place].textContent) : x - y;
        return down ? -by : by;
      };
      body.append(...[...body.rows].sort(order));
    };
  }
}
sortable(document);
if (document.body.hasAttribute("data-live")) {
  let last = "";
  setInterval(async () => {
    try {
      const answer = await fetch(location.pathname, { headers: { "If-None-Match": last } });
      if (answer.status !== 200) return;
      last = answer.headers.get("ETag") || "";
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of ["header", "nav", "main"]) document.querySelector(part).replaceWith(page.querySelector(part));
      sortable(document);
    } catch { /* the server has ended: what is shown stays */ }
  }, 3000);
}
