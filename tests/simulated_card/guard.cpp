// Tells torch that it can switch between CUDA devices, streams and events, without doing anything.
#include <c10/core/impl/DeviceGuardImplInterface.h>

using namespace c10;

namespace {

thread_local DeviceIndex current = 0;

struct SimulatedGuard final : public impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  Device exchangeDevice(Device wanted) const override {
    Device before(DeviceType::CUDA, current);
    current = wanted.index();
    return before;
  }
  Device getDevice() const override { return Device(DeviceType::CUDA, current); }
  void setDevice(Device wanted) const override { current = wanted.index(); }
  void uncheckedSetDevice(Device wanted) const noexcept override { current = wanted.index(); }
  Stream getStream(Device device) const noexcept override { return Stream(Stream::UNSAFE, device, 0); }
  Stream exchangeStream(Stream stream) const noexcept override { return stream; }
  DeviceIndex deviceCount() const noexcept override { return 2; }
  void record(void**, const Stream&, const DeviceIndex, const EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
};

} // namespace

extern "C" void install_simulated_guard() {
  impl::device_guard_impl_registry[static_cast<size_t>(DeviceType::CUDA)].store(new SimulatedGuard());
}
