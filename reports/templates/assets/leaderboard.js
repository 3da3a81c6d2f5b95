"use strict";
// Sorting of the tables by a column; without this script they stand in the order of rank.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? null : Number(cell.dataset.sort);
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.className = "sort";
    button.type = "button";
    button.textContent = head.textContent.trim();
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((one, two) => {
        const a = key(one, column), b = key(two, column);
        if (a === null && b === null) {
          const texts = [one, two].map((row) => row.cells[column].textContent.trim());
          return (down ? -1 : 1) * texts[0].localeCompare(texts[1], undefined, { numeric: true });
        }
        if (a === null || b === null) return a === null ? 1 : -1;
        return (down ? -1 : 1) * (a - b);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
