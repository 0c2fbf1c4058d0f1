"use strict";
// Selects the text of an element, to be copied by hand, and puts it into the clipboard where that is allowed.
function copyText(element, said) {
  var text = element.getAttribute("data-copy") || element.textContent;
  var range = document.createRange();
  var selection = window.getSelection();
  range.selectNodeContents(element);
  selection.removeAllRanges();
  selection.addRange(range);
  // What is true whatever becomes of the rest.
  said.textContent = "Selected: copy it with Ctrl+C";
  function copied() {
    said.textContent = "Copied";
  }
  function theOldWay() {
    function put(event) {
      event.clipboardData.setData("text/plain", text);
      event.preventDefault();
    }
    document.addEventListener("copy", put);
    try {
      if (document.execCommand("copy")) {
        copied();
      }
    } finally {
      document.removeEventListener("copy", put);
    }
  }
  if (navigator.clipboard && window.isSecureContext) {
    navigator.clipboard.writeText(text).then(copied, theOldWay);
  } else {
    theOldWay();
  }
}
// A button with data-copies="ID" copies the element of that ID, and says so in the element of the ID data-says.
document.querySelectorAll("button[data-copies]").forEach(function (button) {
  button.hidden = false;
  button.addEventListener("click", function () {
    copyText(
      document.getElementById(button.getAttribute("data-copies")),
      document.getElementById(button.getAttribute("data-says")) || button
    );
  });
});
document.querySelectorAll("button[data-prints]").forEach(function (button) {
  button.hidden = false;
  button.addEventListener("click", function () {
    window.print();
  });
});
