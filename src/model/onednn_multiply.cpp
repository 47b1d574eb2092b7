// oneDNN's sgemm, loaded at run time into a scope of its own: LibTorch carries another version of oneDNN, and of weak
// symbols that both export (std::call_once of the kernels' set-up) the linker would take one for both, which leaves the
// other's unset.
#include <new>
#include <string>

#include <dlfcn.h>
#include <fmt/format.h>
#include <oneapi/dnnl/dnnl.h>

#include "lshdp/core/error.h"
#include "onednn.h"

namespace lshdp::model {
namespace {

/// The two functions that are used.
struct Library {
  decltype(&dnnl_sgemm) sgemm = nullptr;
  decltype(&dnnl_get_effective_cpu_isa) effective_cpu_isa = nullptr;
};

[[noreturn]] void fail_to_load(const std::string& name) {
  const char* reason = dlerror();
  throw RunError(fmt::format("{} cannot be used ({}): install it (scripts/setup.sh), or build with -DLSHDP_ONEDNN=OFF",
                             name, reason ? reason : "no reason given"));
}

Library load() {
  const std::string name = fmt::format("libdnnl.so.{}", DNNL_VERSION_MAJOR);
  void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  if (!handle) fail_to_load(name);
  Library library;
  library.sgemm = reinterpret_cast<decltype(library.sgemm)>(dlsym(handle, "dnnl_sgemm"));
  library.effective_cpu_isa =
      reinterpret_cast<decltype(library.effective_cpu_isa)>(dlsym(handle, "dnnl_get_effective_cpu_isa"));
  if (!library.sgemm || !library.effective_cpu_isa) fail_to_load(name);
  return library;
}

/// Loaded at the first use and kept.
const Library& onednn() {
  static const Library library = load();
  return library;
}

bool has_avx2() {
  const dnnl_cpu_isa_t best = onednn().effective_cpu_isa();
  return best != dnnl_cpu_isa_all && (best & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2;
}

}  // namespace

bool onednn_multiplies() {
  static const bool suitable = has_avx2();
  return suitable;
}

void multiply(const Matrix& left, const Matrix& right, std::int64_t m, std::int64_t n, std::int64_t k, float* out,
              bool add) {
  const dnnl_status_t status =
      onednn().sgemm(left.transposed ? 'T' : 'N', right.transposed ? 'T' : 'N', m, n, k, 1, left.values,
                     left.row_length, right.values, right.row_length, add ? 1 : 0, out, n);
  if (status == dnnl_out_of_memory) throw std::bad_alloc();
  if (status != dnnl_success) throw RunError(fmt::format("oneDNN's sgemm failed with status {}", int{status}));
}

}  // namespace lshdp::model
