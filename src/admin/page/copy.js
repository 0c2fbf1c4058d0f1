"use strict";
// Puts the text of an element into the clipboard; where that is not allowed, selects it, to be copied by hand.
function copyText(element, said) {
  var text = element.getAttribute("data-copy") || element.textContent;
  function byHand() {
    var range = document.createRange();
    var selection = window.getSelection();
    range.selectNodeContents(element);
    selection.removeAllRanges();
    selection.addRange(range);
    function put(event) {
      event.clipboardData.setData("text/plain", text);
      event.preventDefault();
    }
    document.addEventListener("copy", put);
    var done = false;
    try {
      done = document.execCommand("copy");
    } catch (error) {
      done = false;
    }
    document.removeEventListener("copy", put);
    said.textContent = done ? "Copied" : "Selected: copy it with Ctrl+C";
  }
  function copied() {
    said.textContent = "Copied";
  }
  if (navigator.clipboard && window.isSecureContext) {
    navigator.clipboard.writeText(text).then(copied, byHand);
  } else {
    byHand();
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
