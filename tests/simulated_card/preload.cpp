// Loaded before torch: its autograd engine then believes that the accelerator of this build is one that it does not
// ask for streams (PrivateUse1), so that it runs backward passes of simulated tensors on the thread of the caller.
extern "C" unsigned short _ZN2at11accelerator14getAcceleratorEb(bool) { return 0x0100 | 20; }
extern "C" bool _ZN2at11accelerator13isAcceleratorEN3c1010DeviceTypeE(signed char) { return false; }
